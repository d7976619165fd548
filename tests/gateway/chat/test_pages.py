"""Mirrors gateway/chat/pages.py: where a page ends."""

from __future__ import annotations

import pytest
from homeport import codec
from homeport.frames import Entry, HistoryPage, Message
from homeport.limits import MAX_FRAME_BYTES

from gateway.chat.pages import Page, around

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
