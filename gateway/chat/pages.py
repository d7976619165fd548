"""Pages: as much of an answer as one frame carries, and no older than a moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from homeport import codec
from homeport.limits import MAX_FRAME_BYTES
from msgspec import Struct

from gateway.redis.errors import Unavailable
from gateway.store.lateness import Lateness

READS: Final = 3
"""How often a page is made that takes too long."""

_Item = TypeVar("_Item", bound=Struct)
_Page = TypeVar("_Page", bound=Struct)


async def fresh(
    made: Callable[[], Awaitable[_Page]], lateness: Lateness, clock_ms: Callable[[], int]
) -> _Page:
    """A page that was read a moment ago: what is in it may be recalled while it is made, and is
    shown to nobody once the recall is answered with ok (SPEC.md HP-13.4-1).

    Raises:
        Unavailable: Redis answers too slowly, or this process does.
    """
    for _ in range(READS):
        began_ms = clock_ms()
        page = await made()
        if lateness.fresh(began_ms):
            return page
    raise Unavailable("late")


def around(empty: Struct) -> int:
    """How many bytes of a frame are not its page's items. `empty` is the page without any, and with
    the longest of its other fields."""
    return len(codec.encode_ok(2**32 - 1, empty)) + 2  # an array of 16 items says so in 3 bytes


class Page(Generic[_Item]):
    """The items of one page: as many as one frame carries, and at least one."""

    def __init__(self, around: int) -> None:
        self.items: list[_Item] = []
        self._left = MAX_FRAME_BYTES - around

    def add(self, item: _Item) -> bool:
        """Take one item more; False where it is left to the next page."""
        self._left -= len(codec.encode(item))
        if self._left < 0 and self.items:
            return False
        self.items.append(item)
        return True
