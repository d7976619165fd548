"""How long a session lives, without a connection. What clients see is in test_lifetime_renewal."""

from __future__ import annotations

from typing import Any, cast

import pytest
from homeport import codes, frames

from gateway.clock import Clock
from gateway.security.tokens import Identity
from gateway.session.lifetime import Lifetime
from gateway.session.timing import Timing
from gateway.store import events
from gateway.store.readers import Reader, Revocations
from gateway.wheel import Wheel
from tests.harness import FakeClock

READER = Reader("app", "alice", "d1", "s1")


class Living:
    """A session that notes what is done with it."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def send(self, frame: frames.ServerFrame) -> None:
        """Note the frame."""
        self.done.append(type(frame))

    def check(self) -> None:
        """Note a check."""
        self.done.append("check")

    def close(self, code: codes.CloseCode) -> None:
        """Note the end."""
        self.done.append(code)


class Setting:
    """A session of a day, with heartbeats of 25 s, on a clock that is moved by hand."""

    def __init__(self) -> None:
        self.clock, self.session = FakeClock(), Living()
        clock: Clock = self.clock.clock()
        self.wheel = Wheel(clock.steady())
        issued = int(self.clock.now)
        self.identity = Identity("alice", issued, issued + 86_400, "", "abc")
        timing = Timing(clock, self.wheel, 25.0)
        self.lifetime = Lifetime(
            timing, cast("Any", None), cast("Any", self.session), self.identity
        )

    def pass_time(self, seconds: float) -> list[Any]:
        """What is done in so many seconds."""
        self.session.done.clear()
        self.clock.advance(seconds)
        self.wheel.advance(self.clock.steady)
        return list(self.session.done)


def test_nothing_is_due_before_the_session_is_live_or_after_its_end() -> None:
    """HP-5.3-1: a session that connects is not pinged, nor is one that has ended."""
    setting = Setting()
    setting.lifetime.behind(True)
    setting.lifetime.checked()
    assert setting.pass_time(1000) == []
    setting.lifetime.start(behind=False)
    setting.lifetime.end()
    assert setting.pass_time(1000) == []


def test_it_pings_checks_and_ends_in_silence() -> None:
    """HP-5.3-1 and HP-5.3-3, and the regular check (G3)."""
    setting = Setting()
    setting.lifetime.start(behind=False)
    assert setting.pass_time(25.25) == [frames.Ping]
    assert setting.pass_time(25.25) == [frames.Ping, "check"]
    assert setting.pass_time(25.25) == [codes.PING_TIMEOUT]
    assert setting.pass_time(1000) == []


@pytest.mark.parametrize("late", [False, True], ids=["before it is live", "later"])
def test_a_client_that_does_not_read_is_ended(late: bool) -> None:
    """HP-5.5-3: two heartbeats after it fell behind, also where that was while it connected."""
    setting = Setting()
    setting.lifetime.start(behind=not late)
    if late:
        setting.lifetime.behind(True)
    assert codes.SLOW_CONSUMER not in setting.pass_time(49)
    assert setting.pass_time(1.25) == [codes.SLOW_CONSUMER]


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (events.Kicked(""), codes.KICKED),
        (events.Kicked("d1"), codes.KICKED),
        (events.Kicked("d2"), None),
        (events.TokenVoided("abc"), codes.REVOKED),
        (events.TokenVoided("abd"), None),
        (events.Displaced("s1"), codes.DEVICE_LIMIT),
        (events.Displaced("s2"), None),
        (events.Attached("s2", "d1"), None),
        (events.BlockChanged(1, True, "bob"), None),
    ],
)
def test_which_events_end_a_session(event: events.Told, code: codes.CloseCode | None) -> None:
    """An operator who ends one device, and a device limit that ends one session, end no other."""
    assert Setting().lifetime.ended_by(event, READER) is code


@pytest.mark.parametrize(("later_ms", "ends"), [(0, False), (1, True)])
def test_a_revocation_ends_the_sessions_of_older_tokens(later_ms: int, ends: bool) -> None:
    """G8: a token that was issued at the very time is not older."""
    setting = Setting()
    before_ms = setting.identity.issued_s * 1000 + later_ms
    event = events.Revoked(before_ms)
    assert (setting.lifetime.ended_by(event, READER) is codes.REVOKED) is ends
    assert setting.lifetime.revoked_by(Revocations(before_ms)) is ends


def test_a_revocation_of_one_token_is_for_that_one() -> None:
    """HP-6.4-5."""
    lifetime = Setting().lifetime
    assert lifetime.revoked_by(Revocations(0, frozenset(("abc", "abd"))))
    assert not lifetime.revoked_by(Revocations(0, frozenset(("abd",))))


@pytest.mark.parametrize(
    ("event", "reader", "disputed"),
    [
        (events.Attached("s2", "d1"), READER, True),
        (events.Attached("s1", "d1"), READER, False),
        (events.Attached("s2", "d2"), READER, False),
        (events.Attached("s2", "d1"), Reader("app", "alice", "d1", "s1", ephemeral=True), False),
        (events.Displaced("s2"), READER, False),
    ],
)
def test_a_device_is_disputed_by_another_session_of_it(
    event: events.Told, reader: Reader, disputed: bool
) -> None:
    """Only one session has a device, and an ephemeral one has none."""
    assert Setting().lifetime.disputed_by(event, reader) is disputed
