"""The fan-out of rooms, with sessions that only note what they get."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from homeport import codec
from homeport.frames import Priority, RoomState
from structlog.testing import capture_logs

from gateway.hub import fanout, rooms
from gateway.hub.fanout import BACKLOG, SLICE, Bundle
from gateway.hub.rooms import RoomHub, SessionGone
from gateway.net.framing import Framer
from gateway.store import events
from gateway.store.rooms import Joined, Top
from tests.gateway.hub.ears import Ears
from tests.harness import until
from tests.inside import seats


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms wait for no pace, but where a test sets one."""
    monkeypatch.setattr(fanout, "PACE_S", 0.0)


class Heard:
    """A session. `turns` notes in which turn of the loop each write came."""

    def __init__(self, id: str, now: list[int]) -> None:
        self.id = id
        self._written = b""
        self.turns: list[int] = []
        self.full = False
        self.least = Priority.LOW
        self._now = now

    def on_room(self, payload: bytes | Bundle, priority: int) -> bool:
        """Take it, unless full."""
        if self.full or priority < self.least:
            return False
        self._written += payload if isinstance(payload, bytes) else b"".join(payload)
        self.turns.append(self._now[0])
        return True

    def on_relayed(self, payload: bytes) -> None:
        """Take it."""
        self._written += payload

    @property
    def written(self) -> bytes:
        """All it was given, in order."""
        return self._written

    @property
    def frames(self) -> list[bytes]:
        """All it was given, in order, however many came in one write."""
        return self._written.split(b";")[:-1]


class Store:
    """Names channels, and notes who is away."""

    def __init__(self) -> None:
        self.kept: list[list[str]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.stands = ("e1", 0)

    def channel(self, app_id: str, room: str) -> str:
        """The room's own."""
        return f"ch:{room}"

    def away(self, *_: Any) -> asyncio.Future[Any]:
        """Done."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    async def keep(
        self, app_id: str, room: str, seats: list[str], heard: Top, now_ms: int
    ) -> tuple[int, str, int]:
        """Note it."""
        self.kept.append(list(seats))
        await self.answers.wait()
        return 7, *self.stands


class Setting:
    """A hub, and sessions in its rooms."""

    def __init__(self) -> None:
        self.turn = [0]
        self.sessions: dict[str, Heard] = {}
        self.made = 0
        self.store = Store()
        self.ears = Ears()
        fake: Any = self.ears
        store: Any = self.store
        self.hub = RoomHub(fake, store, self._find, self._open, lambda: 0)

    def _find(self, app_id: str, user: str, session_id: str) -> Heard | None:
        return self.sessions.get(session_id)

    def _open(self, app: str, room: str, channel: str, event: Any) -> bytes:
        self.made += 1
        said = event.record[1:] if isinstance(event, events.RoomMessage) else event.record
        return bytes(said) + b";"

    def fill(self, room: str, count: int) -> list[Heard]:
        """Sessions in a room, whose seats are open."""
        found = []
        for number in range(count):
            found.append(session := Heard(f"{room}-{number}", self.turn))
            self.enter(room, session)
        return found

    def enter(self, room: str, session: Heard, after: int = 0) -> None:
        """The session joins, or joins again, and has everything up to `after`."""
        self.sessions[session.id] = session
        seat, _ = self.hub.enter("app", "u", session.id, room, f"{session.id}:d")
        self.hub.open(session.id, room, seat, after, Joined("e1", after, 1, []))

    def publish(
        self, room: str, seq: int, priority: int = Priority.NORMAL, epoch: bytes = b"e1"
    ) -> None:
        """Number `seq` is heard."""
        head = struct.pack(">BQB", 6, seq, len(epoch)) + epoch
        payload = head + bytes([priority]) + b"%d" % seq
        self.ears.publish(f"ch:{room}", payload)

    async def run(self, turns: int) -> None:
        """Let the loop turn."""
        for _ in range(turns):
            self.turn[0] += 1
            await asyncio.sleep(0)


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


async def test_who_leaves_during_a_fan_out_gets_no_more() -> None:
    """HP-15.1-4: not even what was heard before."""
    setting = Setting()
    sessions = setting.fill("lobby", 600)
    setting.publish("lobby", 1)
    await setting.run(1)
    setting.hub.leave("lobby-599", "lobby")
    await setting.run(10)
    assert sessions[599].frames == []
    assert all(each.frames == [b"1"] for each in sessions[:599])


async def test_who_joins_during_a_fan_out_gets_nothing_twice() -> None:
    """HP-15.2-2: what was told with the last messages is not pushed again."""
    setting = Setting()
    setting.fill("lobby", 600)
    for seq in (1, 2, 3):
        setting.publish("lobby", seq)
    setting.enter("lobby", late := Heard("late", setting.turn), after=2)
    await until(lambda: late.frames)
    assert late.frames == [b"3"]


async def test_what_comes_while_joining_waits() -> None:
    """HP-15.1-2: behind the answer and the last messages, in order, and at most 200."""
    setting = Setting()
    setting.fill("lobby", 1)
    late = setting.sessions["late"] = Heard("late", setting.turn)
    seat, _ = setting.hub.enter("app", "u", "late", "lobby", "late:d")
    for seq in range(1, 251):
        setting.publish("lobby", seq)
        await setting.run(2)
    assert late.frames == []
    setting.hub.open("late", "lobby", seat, 100, Joined("e1", 100, 1, []))
    assert late.frames == [b"%d" % seq for seq in range(101, 251)]


async def test_a_backlog_drops_by_priority() -> None:
    """HP-15.6-3: low first, then normal, then high; what is dropped is not even opened."""
    setting = Setting()
    [session, *_] = setting.fill("lobby", 300)
    seq = 0
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        for _ in range(BACKLOG[Priority.HIGH]):
            seq += 1
            setting.publish("lobby", seq, priority)
    await setting.run(3 * BACKLOG[Priority.HIGH])
    kept = [int(frame) for frame in session.frames]
    size = BACKLOG[Priority.HIGH]
    counts = [sum(n * size < seq <= (n + 1) * size for seq in kept) for n in range(3)]
    low, normal, high = (BACKLOG[p] for p in Priority)
    assert counts == [low, normal - low, high - normal]
    assert kept == sorted(kept)
    assert setting.made == sum(counts)


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


async def test_a_number_is_pushed_once() -> None:
    """HP-15.2-2: a publish that comes twice, or late, is dropped."""
    setting = Setting()
    [session] = setting.fill("lobby", 1)
    for seq in (1, 3, 3, 2, 4):
        setting.publish("lobby", seq)
    await setting.run(2)
    assert session.frames == [b"1", b"3", b"4"]


async def test_seats_are_kept_in_batches_without_those_who_left() -> None:
    """HP-15.5-2: one who leaves while others are kept must not be seated again."""
    setting = Setting()
    setting.fill("lobby", rooms.KEEP_BATCH + 2)
    setting.store.answers.clear()
    keeping = asyncio.create_task(setting.hub.keep())
    await until(lambda: setting.store.kept)
    setting.hub.leave(f"lobby-{rooms.KEEP_BATCH}", "lobby")
    setting.store.answers.set()
    await keeping
    assert [len(batch) for batch in setting.store.kept] == [rooms.KEEP_BATCH, 1]


async def test_an_empty_room_is_not_heard() -> None:
    """G9: nothing of it stays, and its channel is given up."""
    setting = Setting()
    setting.fill("lobby", 600)
    setting.publish("lobby", 1)
    for id in tuple(setting.sessions):
        setting.hub.gone(id)
    await setting.run(3)
    assert (len(setting.hub), seats(setting.hub), setting.ears.wanted) == (0, 0, [])
    assert setting.hub.rooms_of("lobby-1") == frozenset()


async def test_closing_stops_a_fan_out() -> None:
    """Nothing is written once the hub is closed."""
    setting = Setting()
    sessions = setting.fill("lobby", 600)
    setting.publish("lobby", 1)
    await setting.run(1)
    setting.hub.close()
    written = [len(each.frames) for each in sessions]
    await setting.run(10)
    assert [len(each.frames) for each in sessions] == written


async def test_a_session_that_is_gone_can_not_enter() -> None:
    """G9: it would never leave."""
    setting = Setting()
    try:
        setting.hub.enter("app", "u", "nobody", "lobby", "u:d")
    except SessionGone:
        assert len(setting.hub) == 0
    else:
        raise AssertionError("it entered")


async def test_one_session_that_raises_holds_up_no_room() -> None:
    """G10: the rooms share the turns of the loop. One seat's fault left its room, and those behind
    it, without a turn, for as long as the process ran."""
    setting = Setting()
    first, second, third = setting.fill("a", 3)
    (other,) = setting.fill("b", 1)

    def broken(*_: Any) -> bool:
        raise ZeroDivisionError

    second.on_room = broken  # type: ignore[method-assign, assignment]
    for seq in (1, 2):
        setting.publish("a", seq)
        setting.publish("b", seq)
        with capture_logs() as logs:
            await setting.run(5)
            await until(lambda: len(other.frames) == seq)  # noqa: B023
        assert [log["event"] for log in logs] == ["fan_out_failed"]
    assert first.frames == third.frames == other.frames == [b"1", b"2"]


async def test_a_new_numbering_is_told_before_its_first_message() -> None:
    """HP-15.6-5: Redis came back older, and another gateway began a new numbering below what is
    known here. Its numbers used to be taken for repetitions, and nobody was told."""
    setting = Setting()
    [early, slow] = setting.fill("lobby", 2)
    for seq in (1, 2, 3):
        setting.publish("lobby", seq)
    slow.full = True
    setting.publish("lobby", 2, epoch=b"e2")
    slow.full = False
    setting.publish("lobby", 3, epoch=b"e2")
    await setting.run(5)
    told = codec.encode(RoomState("lobby", 1, 0, "e2"))
    assert early.written == b"1;2;3;" + told + b"2;3;"
    # A client that does not read is given no number of an epoch that it was not told of.
    assert slow.written == b""
    setting.store.stands = ("e2", 3)
    await setting.hub.keep()
    setting.publish("lobby", 4, epoch=b"e2")
    await setting.run(5)
    told = codec.encode(RoomState("lobby", 0, 7, "e2"))
    assert slow.written == told + b"4;"


async def test_a_new_numbering_is_found_by_the_next_look_too() -> None:
    """HP-15.6-5: also where pub/sub brought no message of it; it goes on after the store's top."""
    setting = Setting()
    [session] = setting.fill("lobby", 1)
    setting.publish("lobby", 9)
    await setting.run(3)
    setting.store.stands = ("e2", 4)
    await setting.hub.keep()
    setting.publish("lobby", 5, epoch=b"e2")
    await setting.run(3)
    states = (RoomState("lobby", 4, 0, "e2"), RoomState("lobby", 0, 7, "e2"))
    told = [codec.encode(state) for state in states]
    assert session.written == b"".join((b"9;", *told, b"5;"))
    assert setting.hub.top("app", "lobby") == Top("e2", 5)


async def test_one_session_that_raises_keeps_no_other_from_the_rooms_state() -> None:
    """HP-15.6-2, G10: the task that keeps the seats failed at it, and with it the process."""
    setting = Setting()
    first, second, third = setting.fill("lobby", 3)

    def broken(*_: Any) -> bool:
        raise ZeroDivisionError

    second.on_room = broken  # type: ignore[method-assign, assignment]
    with capture_logs() as logs:
        await setting.hub.keep()
        setting.publish("lobby", 1, epoch=b"e2")
    states = (RoomState("lobby", 0, 7, "e1"), RoomState("lobby", 0, 7, "e2"))
    assert first.written == third.written == b"".join(map(codec.encode, states))
    assert [log["event"] for log in logs] == ["fan_out_failed"] * 2
