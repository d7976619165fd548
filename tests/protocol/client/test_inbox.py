"""The client's end of the inbox, without a loop."""

from __future__ import annotations

from typing import Any

import pytest
from homeport import frames
from homeport.client.events import ConversationReset, Lost, Reset
from homeport.client.inbox import Inbox, OutOfOrder
from homeport.client.message import Message
from homeport.frames import Cursor, Limits
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.client.server import EPOCH, SEQ, USER, push, reset


def connected(number: int, epoch: str = EPOCH, lost: tuple[int, int] | None = None) -> Any:
    """A connected frame whose cursor is at `number`."""
    cursor = Cursor(epoch, 1000 + number, number)
    limits = Limits(8192, 256, 600_000)
    return frames.Connected(1, "s", "eu", USER, 25.0, 0, cursor, True, lost, limits)


def inbox_at(number: int) -> Inbox:
    """An inbox of a client that starts at `number`, connected."""
    inbox = Inbox(Cursor(EPOCH, 1000 + number, number))
    assert inbox.connected(connected(number)) == []
    return inbox


def take_all(inbox: Inbox) -> list[int]:
    """The numbers of what is handed out, each acknowledged before the next."""
    numbers = []
    while (message := inbox.take()) is not None:
        numbers.append(number_of(message))
        inbox.ack_taken()
    return numbers


def number_of(message: Message) -> int:
    """Its number in the inbox."""
    assert message.cursor is not None
    return message.cursor.number


def test_messages_come_as_they_were_pushed() -> None:
    """G3: every field of the push arrives."""
    inbox = inbox_at(4)
    assert inbox.push(push(5, sender=USER))
    message = inbox.take()
    assert message == Message(
        f"{5:032x}",
        USER,
        USER,
        USER,
        SEQ + 5,
        7,
        "text",
        b"5",
        own=True,
        cursor=Cursor(EPOCH, 1005, 5),
    )
    assert message.text == "5"
    assert inbox.take() is None


@pytest.mark.parametrize("number", [4, 6, 0])
def test_another_number_than_the_due_one_is_a_fault(number: int) -> None:
    """G3, HP-7.2-2: a skipped or repeated number on a connection is never handed out."""
    inbox = inbox_at(3)
    inbox.push(push(4))
    with pytest.raises(OutOfOrder) as caught:
        inbox.push(push(number))
    assert (caught.value.expected, caught.value.got) == (5, number)
    assert take_all(inbox) == [4]


@given(st.data())
def test_each_number_once_over_any_connections(data: st.DataObject) -> None:
    """G2, G3: wherever connections break and the reader is, 1, 2, 3 … are handed out once each.

    The server here goes on after the client's cursor, as HP-7.2-4 says.
    """
    inbox = Inbox(None)
    seen: list[int] = []
    for _ in range(data.draw(st.integers(1, 6), "connections")):
        start = inbox.cursor.number if inbox.cursor else 0
        assert inbox.connected(connected(start)) == []
        told = start
        for number in range(start + 1, start + 1 + data.draw(st.integers(0, 8), "pushes")):
            inbox.push(push(number))
            for _ in range(data.draw(st.integers(0, 2), "reads")):
                inbox.ack_taken()
                if (message := inbox.take()) is not None:
                    seen.append(number_of(message))
            if (ack := inbox.ack_due()) is not None:
                assert told < ack <= number, "never twice, never above what this connection pushed"
                told = ack
        assert inbox.cursor is not None
        assert inbox.cursor.number <= len(seen), "never acknowledged before it was dealt with"
    assert seen == list(range(1, len(seen) + 1))


def test_an_ack_waits_until_its_push_came_again() -> None:
    """HP-7.3-4: after a reconnect the cursor can be ahead of what this connection has pushed."""
    inbox = inbox_at(0)
    for number in (1, 2, 3):
        inbox.push(push(number))
    first = inbox.take()
    assert first is not None
    inbox.ack(first)
    inbox.connected(connected(1))
    assert take_all(inbox) == [2, 3]
    assert inbox.ack_due() is None
    assert not inbox.push(push(2))
    assert inbox.ack_due() == 2
    assert not inbox.push(push(3))
    assert inbox.ack_due() == 3


def test_acks_are_cumulative_and_only_go_forward() -> None:
    """HP-7.3-1: one ack for many; an older one changes nothing."""
    inbox = inbox_at(0)
    for number in (1, 2, 3):
        inbox.push(push(number))
    messages = [inbox.take() for _ in range(3)]
    assert messages[0] is not None
    assert messages[2] is not None
    assert inbox.ack(messages[2])
    assert inbox.cursor == Cursor(EPOCH, 1003, 3)
    assert not inbox.ack(messages[0])
    assert inbox.ack_due() == 3
    assert inbox.ack_due() is None


def test_an_ack_of_what_was_not_handed_out_is_refused() -> None:
    """HP-7.3-2: a message of another client's with a higher number is a mistake of the caller."""
    ahead, behind = inbox_at(0), inbox_at(0)
    for number in (1, 2):
        ahead.push(push(number))
        behind.push(push(number))
    behind.take()
    ahead.take()
    message = ahead.take()
    assert message is not None
    with pytest.raises(ValueError, match="not handed out"):
        behind.ack(message)


def test_loss_is_told_once() -> None:
    """G5: a range told in connected, and told again after a reconnect, is one event."""
    inbox = Inbox(Cursor(EPOCH, 1003, 3))
    assert inbox.connected(connected(8, lost=(4, 8))) == [Lost(4, 8)]
    assert inbox.connected(connected(8, lost=(4, 8))) == []
    assert inbox.push(push(9))


def test_loss_in_the_stream() -> None:
    """G5, HP-7.4-2: after lost comes its last + 1."""
    inbox = inbox_at(3)
    assert inbox.lost(frames.Lost(4, 6)) == [Lost(4, 6)]
    assert Lost(4, 6).count == 3
    assert inbox.push(push(7))
    with pytest.raises(OutOfOrder):
        inbox.lost(frames.Lost(10, 12))
    with pytest.raises(OutOfOrder):
        inbox.lost(frames.Lost(8, 7))


def test_what_is_already_here_is_not_lost() -> None:
    """G5: the server dropped 2 to 5, of which this client had received 2 and 3 before."""
    inbox = inbox_at(0)
    for number in (1, 2, 3):
        inbox.push(push(number))
    first = inbox.take()
    assert first is not None
    inbox.ack(first)
    assert inbox.connected(connected(5, lost=(2, 5))) == [Lost(4, 5)]
    assert take_all(inbox) == [2, 3]
    assert inbox.push(push(6))
    assert take_all(inbox) == [6]


def test_a_new_device_is_told_what_was_lost() -> None:
    """G5: with no cursor of its own, what connected says is the truth."""
    inbox = Inbox(None)
    assert inbox.connected(connected(8, lost=(4, 8))) == [Lost(4, 8)]
    assert inbox.push(push(9))


def test_a_start_after_our_cursor_without_a_word_is_told_as_loss() -> None:
    """G3, G5: the server forgot the range, but the program still learns of the hole."""
    inbox = Inbox(Cursor(EPOCH, 1003, 3))
    assert inbox.connected(connected(5)) == [Lost(4, 5)]


def test_a_new_epoch_begins_anew() -> None:
    """HP-7.2-5: a reset is told; old messages still come, old acks count for nothing."""
    inbox = inbox_at(7)
    inbox.push(push(8))
    inbox.push(push(9))
    old = inbox.take()
    assert old is not None
    assert inbox.connected(connected(0, epoch="e2")) == [Reset(EPOCH, "e2")]
    assert inbox.cursor == Cursor("e2", 1000, 0)
    assert not inbox.ack(old)
    assert inbox.push(push(1))
    rest = [inbox.take(), inbox.take()]
    assert [m.cursor for m in rest if m is not None] == [
        Cursor(EPOCH, 1009, 9),
        Cursor("e2", 1001, 1),
    ]
    assert inbox.ack_taken()
    assert inbox.ack_due() == 1


def test_a_reset_is_told_among_the_messages() -> None:
    """HP-7.5-1: what was handed out before it counts no more, what comes after it stays; told as it
    arrived, it came before the very messages that it is about."""
    inbox = inbox_at(0)
    for frame in (push(1), push(2)):
        inbox.push(frame)
    assert inbox.reset(reset(3, 40))
    inbox.push(push(4))
    seen: list[int | ConversationReset] = []
    while True:
        seen += inbox.pass_resets()
        if (message := inbox.take()) is None:
            break
        seen.append(number_of(message))
    assert seen == [1, 2, ConversationReset("bob", 40), 4]


def test_a_reset_is_acknowledged_with_the_message_before_it() -> None:
    """HP-7.5-1, HP-7.3-2: not before, or a client that dies would never get that message; nor with
    a message after it alone, which may never come."""
    inbox = inbox_at(0)
    inbox.push(push(1))
    inbox.reset(reset(2, 40))
    inbox.reset(reset(3, 7, "carol"))
    first = inbox.take()
    assert first is not None
    assert inbox.pass_resets() == [ConversationReset("bob", 40), ConversationReset("carol", 7)]
    assert inbox.cursor == Cursor(EPOCH, 1000, 0)
    assert inbox.ack_due() is None
    assert inbox.ack(first)
    assert inbox.cursor == Cursor(EPOCH, 1003, 3)
    assert inbox.ack_due() == 3


def test_a_reset_that_was_not_told_is_not_acknowledged() -> None:
    """HP-7.5-1: its turn has not come, though the message before it was acknowledged."""
    inbox = inbox_at(0)
    inbox.push(push(1))
    inbox.reset(reset(2, 40))
    first = inbox.take()
    assert first is not None
    inbox.ack(first)
    assert inbox.cursor == Cursor(EPOCH, 1001, 1)
    assert inbox.pass_resets() == [ConversationReset("bob", 40)]
    assert inbox.cursor == Cursor(EPOCH, 1002, 2)


def test_a_reset_after_what_was_lost() -> None:
    """HP-7.5-1: what is lost needs no ack, so nothing holds the cursor back."""
    inbox = inbox_at(3)
    inbox.lost(frames.Lost(4, 6))
    inbox.reset(reset(7, 40))
    assert inbox.pass_resets() == [ConversationReset("bob", 40)]
    assert inbox.cursor == Cursor(EPOCH, 1007, 7)


def test_a_reset_takes_its_number() -> None:
    """HP-7.2-2: as a push does; what was received before is not told again."""
    inbox = inbox_at(3)
    with pytest.raises(OutOfOrder):
        inbox.reset(reset(5, 40))
    assert inbox.reset(reset(4, 40))
    assert inbox.pass_resets()
    inbox.connected(connected(3))
    assert not inbox.reset(reset(4, 40))
    assert inbox.pass_resets() == []
    assert inbox.ack_due() == 4
    with pytest.raises(OutOfOrder):
        inbox.push(push(4))


def test_a_reset_of_an_earlier_numbering_moves_nothing() -> None:
    """HP-7.2-5: it is told all the same; its number would be another message's."""
    inbox = inbox_at(0)
    inbox.push(push(1))
    inbox.push(push(2))
    assert inbox.reset(reset(3, 40))
    inbox.take()
    assert inbox.connected(connected(0, epoch="e2")) == [Reset(EPOCH, "e2")]
    inbox.push(push(1))
    inbox.push(push(2))
    inbox.take()
    assert inbox.pass_resets() == [ConversationReset("bob", 40)]
    assert inbox.cursor == Cursor("e2", 1000, 0)
    assert take_all(inbox) == [1, 2]
    assert inbox.cursor == Cursor("e2", 1002, 2)
