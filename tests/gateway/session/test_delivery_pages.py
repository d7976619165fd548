"""What a delivery does with a page: in which order, what is lost, and when it is read again.

An inbox that answers when the test says so takes the place of the store, as in
test_delivery_states.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from homeport import codec, codes
from homeport.frames import Lost, Reset
from homeport.limits import WINDOW
from structlog.testing import capture_logs

from gateway.session.delivery import READS, DeliveryState
from gateway.session.inboxes import Page
from gateway.store.lateness import FRESH_MS
from tests.gateway.session.slow_inbox import START, Setting, gone, hole, page
from tests.harness import until


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    """A delivery, whose tasks end with the test."""
    setting = Setting()
    yield setting
    await setting.tasks.end_spawned()


def lost(first: int, last: int) -> bytes:
    """The frame that says so."""
    return codec.encode(Lost(first, last))


# -- what is lost ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("got", "sent"),
    [
        (page(5, 6), [b"5", b"6"]),
        (page(gone(5), 6), [lost(5, 5), b"6"]),
        (page(5, gone(6)), [b"5", lost(6, 6)]),
        (page(gone(5), gone(6), 7, gone(8), gone(9)), [lost(5, 6), b"7", lost(8, 9)]),
        (page(8, here=7), [lost(5, 7), b"8"]),
        (page(gone(8), gone(9), 10, here=7), [lost(5, 9), b"10"]),
        (page(here=9), [lost(5, 9)]),
        (page(5, hole(6, 2), 7), [b"5", codec.encode(Reset(6, 60, "ann", 2)), b"7"]),
        (
            page(hole(8, 0), gone(9), here=7),
            [lost(5, 7), codec.encode(Reset(8, 80, "ann", 0)), lost(9, 9)],
        ),
    ],
)
async def test_each_number_is_pushed_or_said_to_be_lost_or_resets(
    setting: Setting, got: Page, sent: list[bytes]
) -> None:
    """G5, HP-7.4-1, HP-7.4-4: to the number, whether it was dropped, has ended or was
    erased; one frame for numbers that follow each other. What is under a number once is
    acknowledged by it."""
    setting.stored(got.top, late=True)
    await setting.answer(got)
    assert setting.line.sent == sent
    assert not setting.inbox.pages
    window = setting.hold.window
    assert (window.sent, window.behind, window.room) == (got.top, False, WINDOW - len(sent))
    setting.delivery.ack(got.top)
    last = got.waiting[-1].reference.time_ms if got.waiting else 0
    assert (window.acked.number, window.acked.ms) == (got.top, last)


async def test_a_loss_takes_its_place_in_the_window(setting: Setting) -> None:
    """HP-7.3-5: a loss and the message behind it once went out where there was room for one."""
    for number in range(START + 1, START + WINDOW):
        setting.stored(number)
    assert setting.hold.window.room == 1
    first = START + WINDOW
    setting.stored(first + 1, late=True)
    await setting.answer(page(gone(first), first + 1))
    assert setting.line.sent[-1] == lost(first, first)
    assert (setting.hold.window.room, setting.hold.window.behind) == (0, True)
    setting.delivery.ack(first)
    await setting.answer(page(first + 1))
    assert setting.line.sent[-1] == b"%d" % (first + 1)


async def test_what_does_not_fit_into_a_page_is_asked_for_again(setting: Setting) -> None:
    """G3: an answer is bounded by bytes, so a page may end before what was asked for."""
    setting.stored(9, late=True)
    await setting.answer(page(5, 6, top=9))
    await setting.answer(page(gone(7), top=9))
    await setting.answer(page(8, 9))
    assert setting.line.sent == [b"5", b"6", lost(7, 7), b"8", b"9"]
    assert [after for after, _ in setting.inbox.asked] == [4, 6, 7]
    assert setting.at(DeliveryState.PUSHING)


# -- what was announced and is not there -----------------------------------------------------------


async def test_numbers_that_were_never_given_are_forgotten(setting: Setting) -> None:
    """G9: who can publish in Redis said so. Nothing is lost, and the next message comes."""
    setting.stored(999, late=True)
    await ask_whether_it_is_the_same(setting, page(here=4))
    await setting.checked(4)
    await until(lambda: setting.at(DeliveryState.PUSHING))
    setting.stored(5)
    assert setting.line.sent == [b"5"]


async def ask_whether_it_is_the_same(setting: Setting, got: Page) -> None:
    """Answer the next page, which makes the session ask for a check."""
    (await setting.page_asked()).set_result(got)
    await until(lambda: setting.inbox.checks)


async def test_what_is_stored_while_the_session_asks_is_not_forgotten(setting: Setting) -> None:
    """G1: the answer is older than what pub/sub told meanwhile, and the session did not look again
    until the regular check."""
    setting.stored(999, late=True)
    await ask_whether_it_is_the_same(setting, page(here=4))
    setting.stored(5)
    await setting.checked(4)
    await setting.answer(page(5))
    assert setting.line.sent == [b"5"]


async def test_a_page_older_than_the_last_word_is_pushed_all_the_same(setting: Setting) -> None:
    """G3: messages come all the time; a page that lacks the newest is not taken for an inbox that
    has lost them."""
    setting.stored(6)  # 5 is missing
    asked = await setting.page_asked()
    setting.stored(7)
    asked.set_result(page(5, 6))
    await setting.answer(page(7))
    assert setting.line.sent == [b"5", b"6", b"7"]
    assert not setting.inbox.checks


@pytest.mark.parametrize("epoch", ["f", ""])
async def test_another_numbering_ends_the_session(setting: Setting, epoch: str) -> None:
    """HP-7.2-5: and nothing of it is pushed under the old one. The client comes back with its
    cursor, and is told."""
    setting.stored(6)
    await ask_whether_it_is_the_same(setting, page(5, 6, epoch=epoch))
    await setting.checked(6, epoch=epoch)
    await until(lambda: setting.ended)
    assert setting.ended == [codes.STORE_UNAVAILABLE]
    assert setting.line.sent == []
    setting.delivery.stop()


# -- what may have been recalled meanwhile ---------------------------------------------------------


async def test_a_push_that_came_late_is_read_instead(setting: Setting) -> None:
    """HP-13.4-1: it may have been recalled; what the store has is pushed. Those behind it wait."""
    setting.stored(5, late=True)
    setting.stored(6)
    await setting.answer(page(5, 6))
    setting.stored(7)
    assert setting.line.sent == [b"5", b"6", b"7"]
    assert setting.counts.gaps_found == 0  # pub/sub lost nothing


@pytest.mark.parametrize("late", [False, True])
async def test_a_page_that_took_too_long_is_read_again(setting: Setting, late: bool) -> None:
    """HP-13.4-1: a message of it was recalled after Redis had read it."""
    setting.stored(6)  # 5 is missing
    asked = await setting.page_asked()
    setting.inbox.clock.advance((FRESH_MS + late) / 1000)
    asked.set_result(page(5, 6))
    if late:
        now = setting.inbox.clock.steady
        await setting.answer(page(gone(5), 6, asked=now))
    await until(lambda: setting.at(DeliveryState.PUSHING))
    assert setting.line.sent == ([lost(5, 5)] if late else [b"5"]) + [b"6"]


async def test_a_page_that_always_takes_too_long_is_put_off(setting: Setting) -> None:
    """HP-13.4-1, G9: not pushed, and not read for ever either: the next message tries again."""
    setting.stored(6)
    with capture_logs() as logs:
        for _ in range(READS):
            asked = await setting.page_asked()
            setting.inbox.clock.advance(1)
            asked.set_result(page(5, 6, asked=setting.inbox.clock.steady - 1))
        await until(lambda: setting.at(DeliveryState.PUSHING))
    assert setting.line.sent == []
    assert not setting.inbox.pages
    assert [log["event"] for log in logs] == ["catch_up_put_off"]
    setting.stored(7)
    await setting.answer(page(5, 6, 7, asked=setting.inbox.clock.steady))
    assert setting.line.sent == [b"5", b"6", b"7"]


async def test_what_attaching_read_too_long_ago_is_read_again(setting: Setting) -> None:
    """HP-13.4-1: also the first page, which comes with the answer to the connect."""
    setting.inbox.clock.advance(1)
    setting.delivery.start(page(5), 5)
    await setting.answer(page(5, asked=setting.inbox.clock.steady))
    assert setting.line.sent == [b"5"]


async def test_what_attaching_read_is_pushed_at_once(setting: Setting) -> None:
    """HP-7.2-2: after `connected`, and without another question."""
    setting.delivery.start(page(gone(5), 6), 6)
    assert setting.line.sent == [lost(5, 5), b"6"]
    assert setting.inbox.asked == []
