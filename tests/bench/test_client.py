"""The generator's client: the fast path sees what `homeport.codec` sees."""

from __future__ import annotations

import asyncio
import time

import pytest
from homeport import codec, frames
from homeport.frames import Cursor, Limits

from bench.client import KIND, Client, Totals, Who
from bench.stamp import STAMP
from gateway.net.framing import Framer
from tests.protocol.client.server import ok

RUN = 77
ME = 3


class Held:
    """A client that is connected, and what it writes, decoded."""

    def __init__(self, ack_every: float = 0, room: str = "") -> None:
        self.total = Totals(RUN, b"f" * 108, ack_every)
        who = Who(
            index=ME, user="me", device="bench", token="t", sends_to="you", hears=(3, 4), room=room
        )
        self.client = Client(who, self.total)
        self.refusals: list[str] = []
        self.connections = 0
        self._written: list[bytes] = []
        self.client.write = self._written.append
        self.client.end = lambda: None
        self.client.on_connected = self._connected
        self.client.on_refused = self.refusals.append
        self.connect()

    def _connected(self) -> None:
        self.connections += 1

    def connect(self, cursor: Cursor | None = None) -> frames.Connect:
        """Connect, or connect again; returns what the client said."""
        self.client.upgraded = True
        self.client.on_open()
        (said,) = self.said()
        assert isinstance(said, frames.Connect)
        self.hear(
            frames.Connected(
                said.id, "s", "sg", "me", 25.0, 2**40, cursor or Cursor("e", 0, 0), True, None,
                Limits(65536, 256, 600_000),
            )
        )  # fmt: skip
        return said

    def hear(self, *sent: frames.ServerFrame) -> None:
        """Receive frames, all in one read."""
        self.client.receive(b"".join(Framer().framed(codec.encode(one)) for one in sent))

    def said(self) -> list[frames.ClientFrame]:
        """What the client has written since."""
        said = []
        for data in self._written:
            size = data[1] & 0x7F
            payload = data[6:] if size < 126 else data[8:]
            said.append(codec.decode_client(payload))
        self._written.clear()
        return said


def message(
    sender: int, number: int, size: int = 128, due: int = 0, run: int = RUN
) -> frames.Message:
    """A message of the bench."""
    stamp = STAMP.pack(run, sender, number, due)
    return frames.Message(bytes(16), f"u{sender}", "me", 2**41, KIND, stamp.rjust(size, b"f"))


@pytest.mark.parametrize("number", [1, 127, 128, 255, 256, 65_535, 65_536, 2**32, 2**53 - 1])
@pytest.mark.parametrize("seq", [1, 300])
def test_a_push_is_counted_timed_and_acknowledged(number: int, seq: int) -> None:
    """Every form of the numbers before the message; that of the inbox is the one acknowledged."""
    held = Held()
    held.hear(frames.Push(number, 2**41, seq, message(4, 0, due=time.monotonic_ns())))
    assert held.total.delivered == 1
    assert held.said() == [frames.Ack(number)]
    held.total.delivery.fold()
    assert held.client.received.due == {4: 1}


@pytest.mark.parametrize("size", [20, 24, 31, 32, 255, 256, 65_000])
def test_a_stamp_is_found_in_a_body_of_any_size(size: int) -> None:
    """MessagePack has three forms of bytes; the stamp is found from the end."""
    held = Held()
    held.hear(frames.RoomPush(9, 1, message(4, 0, size)), frames.Push(2, 5, 1, message(4, 1, size)))
    assert held.total.delivered == 2
    assert held.client.received.due == {4: 2}


def test_what_is_not_of_this_run_is_not_counted() -> None:
    """An older message that still waited, a group's notice, a message with an extra."""
    held = Held()
    notice = frames.Message(bytes(16), "", "g:1", 1, "homeport.group", b"\x80")
    held.hear(frames.Push(1, 1, 9, message(4, 0, run=RUN + 1)), frames.Push(2, 1, 9, notice))
    assert held.total.delivered == 0
    assert held.said() == [frames.Ack(2)]


def test_pushes_of_one_read_are_acknowledged_once() -> None:
    """``--ack-every 0``: one ack a read."""
    held = Held()
    held.hear(*(frames.Push(seq, 1, 9 + seq, message(4, seq - 1)) for seq in range(1, 101)))
    assert held.said() == [frames.Ack(100)]


async def test_acks_wait_for_their_time_or_half_a_window() -> None:
    """``--ack-every``, as the SDK does it: a half-full window is acknowledged before its time."""
    held = Held(ack_every=600)
    held.hear(*(frames.Push(seq, 1, 9 + seq, message(4, seq - 1)) for seq in range(1, 101)))
    assert held.said() == []
    held.hear(*(frames.Push(seq, 1, 9 + seq, message(4, seq - 1)) for seq in range(101, 129)))
    assert held.said() == [frames.Ack(128)]
    held = Held(ack_every=0.001)
    held.hear(frames.Push(1, 1, 9, message(4, 0)))
    async with asyncio.timeout(10):
        while not (said := held.said()):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert said == [frames.Ack(1)]


def test_loss_doubles_and_reordering_are_seen() -> None:
    """The planted faults of a server: 1 is missing, 3 comes twice, 5 before 4."""
    held = Held()
    numbers = [0, 2, 3, 3, 5, 4]
    held.hear(*(frames.RoomPush(1, 1, message(4, number)) for number in numbers))
    received = held.client.received
    assert (received.doubled, received.reordered) == (1, 1)
    assert received.holes[4] == {1}


def test_a_send_is_answered_by_its_id() -> None:
    """Accepted, refused and unanswered numbers are kept apart."""
    held = Held()
    for _ in range(3):
        held.client.send(due=5)
    first, second, third = held.said()
    assert isinstance(first, frames.Send)
    assert isinstance(second, frames.Send)
    assert isinstance(third, frames.Send)
    assert len({first.client_id, second.client_id, third.client_id}) == 3
    assert STAMP.unpack(second.body[-STAMP.size :]) == (RUN, ME, 1, 5)
    held.hear(
        ok(first, frames.Accepted(bytes(16), 1)),
        frames.Error(second.id, 134, "slowly", 0.5),
    )
    assert held.total.accepted == 1
    assert dict(held.total.refused) == {"rate_limited": 1}
    assert held.client.waits == 1
    assert (held.client.told().count, held.client.told().open) == (3, frozenset({1, 2}))


def test_a_connection_is_resumed_with_its_cursor_and_what_was_not_answered() -> None:
    """HP-8.3-3: the cursor, and the same client message id."""
    held = Held()
    held.client.send(due=5)
    held.hear(frames.Push(300, 70_000, 9, message(4, 0)))
    sent, _ = held.said()
    assert isinstance(sent, frames.Send)
    held.client.lost()
    held.client.send(due=6)  # while nobody is there
    assert held.said() == []
    connect = held.connect()
    assert connect.cursor == Cursor("e", 70_000, 300)
    again, late = held.said()
    assert again == sent
    assert isinstance(late, frames.Send)
    assert held.total.sent == 2


def test_a_ping_is_answered_and_a_loss_is_noted() -> None:
    """Heartbeats, and what the server says is gone."""
    held = Held()
    held.hear(frames.Ping(), frames.Lost(3, 7))
    assert held.said() == [frames.Pong()]
    assert held.total.told_lost == 5


def test_a_reset_is_acknowledged_and_counted() -> None:
    """HP-7.5-1: it takes a number of the inbox. One that was not acknowledged came again on each
    connection, and filled a window for ever."""
    held = Held()
    held.hear(frames.Push(1, 1, 9, message(4, 0)), frames.Reset(2, 70_000, "you", 40))
    assert held.said() == [frames.Ack(2)]
    assert (held.total.told_reset, held.total.delivered) == (1, 1)
    held.client.lost()
    assert held.connect().cursor == Cursor("e", 70_000, 2)


def test_a_refused_connect_says_why() -> None:
    """By the error's name, which a report can count."""
    held = Held()
    held.client.lost()
    held.client.on_open()
    held.hear(frames.Error(2, 115, "over"))
    assert held.refusals == ["token_expired"]


def test_a_gateway_that_leaves_is_followed_and_its_room_joined_again() -> None:
    """A rolling restart was told as a loss: clients never came back, and members heard no more of
    their room. The wait is what the gateway asked for, and the room goes on where it was."""
    held = Held(room="lobby")
    held.client.join(lambda _: None)
    (first,) = held.said()
    assert isinstance(first, frames.RoomJoin) and first.last == 0
    held.hear(ok(first, frames.RoomJoined("r1", 40, 2)))
    held.hear(frames.RoomPush(41, 1, message(4, 0)), frames.Goaway(1.5))
    assert held.client.back_in_s == 1.5
    held.client.lost()
    held.connect()
    (again,) = held.said()
    assert isinstance(again, frames.RoomJoin)
    assert (again.room, again.epoch, again.after) == ("lobby", "r1", 41)
