"""What tests of the configuration share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import ConfigError, load_settings

GOOD: dict[str, Any] = {
    "region": "eu",
    "redis_url": "redis://localhost:6379/0",
    "durability": "fsync",
    "key_file": "/etc/homeport/keyring.json",
    "plain_listen": "127.0.0.1:8080",
}


def problems(file: Path | None = None, **flags: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(file, GOOD | flags)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems
