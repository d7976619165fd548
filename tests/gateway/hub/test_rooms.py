"""The fan-out of rooms, with sessions that only note what they get."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from homeport.frames import Priority

from gateway.hub import fanout
from gateway.hub.fanout import SLICE, Bundle
from gateway.net.framing import Framer
from tests.gateway.hub.rooming import Heard, Setting
from tests.harness import until


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms wait for no pace, but where a test sets one."""
    monkeypatch.setattr(fanout, "PACE_S", 0.0)


async def test_two_hundred_sessions_get_a_rooms_messages_in_order() -> None:
    """HP-15.2-2: however its messages were spread over turns; framed once each."""
    setting = Setting()
    sessions = setting.fill("lobby", 200)
    for seq in range(1, 101):
        setting.publish("lobby", seq)
        if seq % 7 == 0:
            await setting.run(1)
    expected = [b"%d" % seq for seq in range(1, 101)]
    await until(lambda: all(session.frames == expected for session in sessions))
    assert setting.made == 100


class Framed(Heard):
    """A session on a wire of the kind of `framer`; `writes` are what it framed."""

    def __init__(self, id: str, now: list[int], framer: Framer) -> None:
        super().__init__(id, now)
        self._framer = framer
        self.writes: list[bytes] = []

    def on_room(self, payload: bytes | Bundle, priority: int) -> bool:
        """Take it in one frame or several, unless full."""
        if not super().on_room(payload, priority):
            return False
        framer = self._framer
        data = framer.framed(payload) if isinstance(payload, bytes) else framer.joined(payload)
        self.writes.append(data)
        return True


def framings(sessions: Sequence[Framed]) -> int:
    """How many objects all that they wrote is."""
    return len({id(write) for each in sessions for write in each.writes})


async def test_a_fan_out_is_framed_once_for_each_kind_of_wire() -> None:
    """G9: in a room of some hundred sessions on two kinds of wire. One that does not keep up, and
    so is offered each message of a batch alone, has that one framed anew, and not the batch; and
    another room, whose turn comes between two slices, costs one framing more per slice."""
    setting, framers = Setting(), (Framer(), Framer())
    sessions: list[Framed] = []
    for number in range(2 * SLICE + 10):
        sessions.append(Framed(f"lobby-{number}", setting.turn, framers[number % 3 == 0]))
        setting.enter("lobby", sessions[-1])
    slow = sessions[SLICE]
    slow.least = Priority.HIGH
    for seq, priority in ((1, Priority.NORMAL), (2, Priority.HIGH), (3, Priority.NORMAL)):
        setting.publish("lobby", seq, priority)
    await setting.run(5)
    assert sessions[0].written == sessions[-1].written == b"1;2;3;"
    assert slow.written == b"2;"
    assert framings(sessions) == len(framers) + 1

    slow.least = Priority.LOW
    other = Framed("other", setting.turn, framers[0])
    setting.enter("hall", other)
    for seq in range(4, 10):
        setting.publish("lobby", seq)
        setting.publish("hall", seq)
        await setting.run(1)
    await until(lambda: all(each.written.endswith(b"9;") for each in (*sessions, other)))
    slices = len(sessions) // SLICE + 1
    assert framings(sessions) <= 3 + 6 * slices * len(framers)


async def test_a_large_fan_out_yields() -> None:
    """G9: others get their turn every few hundred writes; the order holds."""
    setting = Setting()
    large, small = setting.fill("large", 2000), setting.fill("small", 2)
    for seq in (1, 2, 3):
        setting.publish("large", seq)
    setting.publish("small", 1)
    await setting.run(2)
    assert [len(each.frames) for each in small] == [1, 1]
    await setting.run(40)
    assert all(each.frames == [b"1", b"2", b"3"] for each in large)
    written: dict[int, int] = {}
    for each in large:
        for turn in each.turns:
            written[turn] = written.get(turn, 0) + 1
    assert max(written.values()) <= SLICE
    assert len(written) >= 2000 // SLICE


async def test_a_burst_in_small_rooms_yields_too() -> None:
    """G9: one read may bring a message for each of hundreds of rooms."""
    setting = Setting()
    sessions = [each for n in range(100) for each in setting.fill(f"r{n}", 10)]
    for number in range(100):
        setting.publish(f"r{number}", 1)
    for _ in range(10):
        await setting.run(1)
        assert sum(each.turns.count(setting.turn[0]) for each in sessions) <= SLICE
    assert all(each.frames == [b"1"] for each in sessions)


async def test_what_comes_together_leaves_in_one_write() -> None:
    """HP-15.2-2: the frames of a burst are joined once, and each session gets all of them."""
    setting = Setting()
    sessions = setting.fill("lobby", 100)
    for seq in range(1, 51):
        setting.publish("lobby", seq)
    await setting.run(2)
    assert all(each.frames == [b"%d" % seq for seq in range(1, 51)] for each in sessions)
    assert all(len(each.turns) == 1 for each in sessions)


async def test_a_busy_room_is_paced_and_a_quiet_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first message leaves at once; those that follow within the pace leave together."""
    monkeypatch.setattr(fanout, "PACE_S", 0.05)
    setting = Setting()
    [session] = setting.fill("lobby", 1)
    setting.publish("lobby", 1)
    await setting.run(2)
    assert session.frames == [b"1"]
    for seq in range(2, 12):
        setting.publish("lobby", seq)
        await setting.run(2)
    assert session.frames == [b"1"]
    await until(lambda: len(session.frames) == 11)
    assert len(session.turns) == 2


async def test_a_session_gets_of_a_batch_what_is_new_to_it_and_what_it_has_room_for() -> None:
    """HP-15.2-2, HP-15.6-1: not all or nothing."""
    setting = Setting()
    told, tight = setting.fill("lobby", 2)
    tight.least = Priority.HIGH
    setting.enter("lobby", told, after=2)
    for seq, priority in ((1, 1), (2, 2), (3, 0), (4, 2)):
        setting.publish("lobby", seq, priority)
    await setting.run(2)
    assert (told.frames, tight.frames) == ([b"3", b"4"], [b"2", b"4"])


async def test_one_that_is_full_does_not_hold_others_up() -> None:
    """G9, HP-15.6-1: and gets the next one once it has room."""
    setting = Setting()
    slow, fast = setting.fill("lobby", 2)
    slow.full = True
    setting.publish("lobby", 1)
    await setting.run(2)
    slow.full = False
    setting.publish("lobby", 2)
    await setting.run(2)
    assert (slow.frames, fast.frames) == ([b"2"], [b"1", b"2"])
