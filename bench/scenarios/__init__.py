"""The scenarios by name. Each module holds one; `bench.options.DEFAULTS` has their options."""

from __future__ import annotations

from typing import Final

from bench.run import Scenario
from bench.scenarios import chat, conn, fanout

SCENARIOS: Final[dict[str, Scenario]] = {
    "conn": conn.run,
    "fanout": fanout.run,
    "chat": chat.run,
}
