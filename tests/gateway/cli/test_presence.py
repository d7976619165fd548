"""Mirrors gateway/cli/presence.py: what it makes of its arguments, and of what users write."""

from __future__ import annotations

from homeport import Presence

from gateway.cli.presence import line, record
from tests.gateway.cli.conftest import run


def test_a_line_is_user_state_and_status() -> None:
    """What a person reads; nothing that another user wrote can steer the terminal."""
    assert line(Presence("bob", "online", "", 0)) == "bob online"
    assert line(Presence("bob", "away", "lunch\x1b[2J", 0)) == r"bob away: lunch\x1b[2J"
    gone = line(Presence("bob", "offline", "bye", 1_767_323_045_678))
    assert gone.startswith("bob offline since 2026-01-0")
    assert gone.endswith(": bye")


def test_a_record_has_all_of_it() -> None:
    """What a script gets."""
    assert record(Presence("bob", "offline", "bye", 5)) == {
        "user": "bob",
        "state": "offline",
        "status": "bye",
        "since": 5,
    }


def test_wrong_users_are_wrong_usage() -> None:
    """Exit code 2 before anything is connected."""
    for users in ([], ["a b"], ["g:x"], [f"u{number}" for number in range(501)]):
        assert run("presence", "--as", "alice", *users).code == 2
