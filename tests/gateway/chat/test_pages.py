"""Mirrors gateway/chat/pages.py: where a page ends, and how old it may be."""

from __future__ import annotations

from typing import cast

import pytest
from homeport import codec
from homeport.frames import Entry, HistoryPage, Message
from homeport.limits import MAX_FRAME_BYTES

from gateway.chat.pages import READS, Page, around, fresh
from gateway.redis.errors import Unavailable
from gateway.store.lateness import FRESH_MS, Lateness

LONGEST = HistoryPage((), 2**32 - 1, 2**32 - 1)


def entry(size: int) -> Entry:
    """An entry that takes `size` bytes of a page."""

    def with_body(length: int) -> Entry:
        return Entry(2**32 - 1, Message(b"", "", "", 0, "", b"x" * length))

    # The head of a body is 2, 3 or 5 bytes long.
    made = with_body(size - (len(codec.encode(with_body(size))) - size))
    assert len(codec.encode(made)) == size
    return made


@pytest.mark.parametrize("count", [16, 100])
def test_a_page_that_fills_a_frame_is_sent_whole_and_no_byte_more(count: int) -> None:
    """HP-13.2-5: with the longest numbers around it, a full page is 73,728 bytes to the byte; the
    page ends one entry earlier where one byte too many would go into the frame."""
    size, rest = divmod(MAX_FRAME_BYTES - around(LONGEST), count)
    for more, taken in ((0, True), (1, False)):
        page = Page[Entry](around(LONGEST))
        assert all(page.add(entry(size)) for _ in range(count - 1))
        assert page.add(entry(size + rest + more)) is taken
        answer = HistoryPage(tuple(page.items), LONGEST.next, LONGEST.lost)
        frame = codec.encode_ok(2**32 - 1, answer)
        assert (len(frame) == MAX_FRAME_BYTES) is taken
        assert len(frame) <= MAX_FRAME_BYTES


def test_the_first_item_is_on_its_page_whatever_its_size() -> None:
    """HP-13.2-2: a reader gets on, also where somebody raised the limit of a body too far."""
    page = Page[Entry](around(LONGEST))
    assert page.add(entry(2 * MAX_FRAME_BYTES))
    assert not page.add(entry(30))
    assert len(page.items) == 1


class Late:
    """The `Lateness` of a gateway that is not late, at `now_ms`."""

    now_ms = 0

    def fresh(self, as_of_ms: float) -> bool:
        """As that of a `Lateness`."""
        return self.now_ms - as_of_ms <= FRESH_MS


async def test_a_page_that_took_too_long_is_made_again() -> None:
    """HP-13.4-1: what was read may have been recalled since; after three tries the client is told
    to come again."""
    late, took = Late(), [FRESH_MS + 1, FRESH_MS]

    async def made() -> HistoryPage:
        late.now_ms += took.pop(0)
        return HistoryPage((), lost=len(took))

    lateness = cast("Lateness", late)
    assert (await fresh(made, lateness, lambda: late.now_ms)).lost == 0
    took = [FRESH_MS + 1] * (READS + 1)
    with pytest.raises(Unavailable):
        await fresh(made, lateness, lambda: late.now_ms)
    assert len(took) == 1
