"""The ACL users of the runbook. Tests run as these, so its lines can't go stale."""

from __future__ import annotations

import re
from pathlib import Path

_RUNBOOK = Path(__file__).parents[1] / "deploy" / "RUNBOOK.md"


def rules_of(user: str, region: str = "sg") -> str:
    """What follows the password in the runbook's line for `user`, for another region if asked."""
    pattern = rf"^ACL SETUSER {user} on >PASSWORD (.+)$"
    (rules,) = re.findall(pattern, _RUNBOOK.read_text(), re.MULTILINE)
    return str(rules).replace("hp:sg:", f"hp:{region}:")
