"""When acknowledgements are saved: in their order, none forgotten, each for its own device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from homeport import frames
from structlog.testing import capture_logs

from gateway.session import saving
from gateway.session.saving import SLICE, Saving
from gateway.store.keys import Keys
from tests.gateway.session.talking import note, quiet
from tests.harness import RunningWorker, until


class FakeLoop:
    """A loop whose time is set, and which calls nothing by itself."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        """See `asyncio.AbstractEventLoop`."""
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """See `asyncio.AbstractEventLoop`."""
        assert delay >= 0
        self.timers.append((self.now + delay, callback))

    def pass_time(self, seconds: float) -> None:
        """Let time pass and call what was due at its end; what that asks for is due later."""
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now + 1e-9]
        self.timers = [timer for timer in self.timers if timer not in due]
        for _, callback in due:
            callback()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    """The loop that `Saving` finds."""
    fake = FakeLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: fake)
    return fake


def test_each_is_saved_when_it_is_due_and_one_timer_does_it(loop: FakeLoop) -> None:
    """G9: a session that acknowledges costs a place in a line, not a timer."""
    line, done = Saving(), list[str]()
    for name, pause in (("a", 0.01), ("b", 0.3), ("c", 0.0)):
        line.later(partial(done.append, name))
        loop.pass_time(pause)
    assert len(loop.timers) == 1
    loop.pass_time(0.19)
    assert done == ["a", "b"]  # so little later is saved with it
    assert len(loop.timers) == 1
    loop.pass_time(0.31)
    assert done == ["a", "b", "c"]
    assert loop.timers == []
    line.later(partial(done.append, "d"))  # it goes on after the line was empty
    loop.pass_time(0.5)
    assert done[-1] == "d"


def test_many_at_once_leave_the_loop_to_others_in_between(loop: FakeLoop) -> None:
    """G9: a group of thousands that acknowledges in one turn is not saved in one."""
    line, done = Saving(), list[int]()
    for number in range(2 * SLICE + 1):
        line.later(partial(done.append, number))
    loop.pass_time(0.5)
    turns = []
    while loop.timers:
        turns.append(len(done))
        loop.pass_time(0)
    assert turns == [SLICE, 2 * SLICE]
    assert done == list(range(2 * SLICE + 1))


async def test_every_device_has_its_own_acknowledgement_saved(
    running: RunningWorker, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-7.3-1: while they are connected, and again for what they acknowledge after that."""
    monkeypatch.setattr(saving, "ACK_DELAY_S", 0.001)

    def saved(user: str) -> int:
        row = store.hget(Keys("sg").user(running.app.id, user).meta, "d:d1")
        return int(row.split()[0])

    def is_saved(by_ann: int, by_bob: int) -> bool:
        return (saved("ann"), saved("bob")) == (by_ann, by_bob)

    async with running.client("ann", "d1") as ann, running.client("bob", "d1") as bob:
        for client, user in ((ann, "ann"), (bob, "bob")):
            await note(client, user, 4)
        for at, more in ((1, 2), (3, 4)):
            await ann.send(frames.Ack(at))
            await bob.send(frames.Ack(more))
            await quiet(ann)
            await quiet(bob)
            await until(partial(is_saved, at, more))


def test_one_save_that_raises_holds_up_no_other(loop: FakeLoop) -> None:
    """G10: the line has one timer. A callback that raised left it without one, and no cursor of
    this process was saved any more."""
    line, done = Saving(), list[str]()

    def broken() -> None:
        raise ZeroDivisionError

    line.later(broken)
    line.later(partial(done.append, "a"))
    with capture_logs() as logs:
        loop.pass_time(saving.ACK_DELAY_S)
    assert done == ["a"]
    assert [log["event"] for log in logs] == ["save_failed"]
    line.later(partial(done.append, "b"))
    loop.pass_time(saving.ACK_DELAY_S)
    assert done == ["a", "b"]
