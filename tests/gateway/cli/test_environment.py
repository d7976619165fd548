"""Which gateway a command is about, and what each command says of the clock that it goes by."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from gateway.store import admin
from gateway.store.region_clock import RegionClock
from tests.gateway.cli.conftest import Region

HOUR_S = 3600.0
COMMANDS = (
    ("app", "create", "other", "--json"),
    ("token", "new", "--user", "bob", "--app", "APP", "--json"),
    ("token", "revoke", "--user", "bob", "--app", "APP"),
    ("app", "rotate-certificate", "APP", "--json"),
    ("keys", "rotate", "FILE", "--json"),
    ("app", "delete", "APP", "--yes"),
)
"""Commands that write a time, or delete."""


def of(region: Region, app_id: str, command: tuple[str, ...]) -> list[str]:
    """The command, about this app and this region's key file."""
    named = {"APP": app_id, "FILE": str(region.folder / "keys.json")}
    return [named.get(word, word) for word in command]


@pytest.mark.parametrize("off_s", [HOUR_S, -HOUR_S])
def test_a_wrong_clock_is_said_and_nothing_goes_by_it(
    region: Region, monkeypatch: pytest.MonkeyPatch, off_s: float
) -> None:
    """G12: a gateway whose clock is wrong says `clock_wrong` and stamps nothing by it, and so do
    commands: whatever they write is of the region's time."""
    app_id, began = region.create()["id"], time.time()
    monkeypatch.setattr(admin, "RegionClock", lambda: RegionClock(lambda: time.time() + off_s))
    said = {}
    for command in COMMANDS:
        ran = region.run(*of(region, app_id, command))
        assert ran.code == 0, ran.err
        assert f"clock_wrong: this machine's clock is {off_s:+.1f} s from Redis'" in ran.err
        said[command[:2]] = ran
    now = time.time()
    made = said["app", "create"].json["created"]
    assert began - 1 <= datetime.fromisoformat(made).timestamp() <= now + 1
    longest = said["app", "rotate-certificate"].json["max_token_s"]
    assert began - 1 <= said["token", "new"].json["expires"] - longest <= now + 1
    comes = said["keys", "rotate"].json["coming"]["2"]
    assert began + 59 <= datetime.fromisoformat(comes).timestamp() <= now + 61


def test_a_clock_that_agrees_is_not_spoken_of(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to five seconds are no fault."""
    app_id = region.create()["id"]
    monkeypatch.setattr(admin, "RegionClock", lambda: RegionClock(lambda: time.time() + 4))
    for command in COMMANDS:
        ran = region.run(*of(region, app_id, command))
        assert ran.code == 0, ran.err
        assert "clock" not in ran.err
