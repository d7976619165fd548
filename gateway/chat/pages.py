"""Pages: as much of an answer as one frame carries."""

from __future__ import annotations

from typing import Generic, TypeVar

from homeport import codec
from homeport.limits import MAX_FRAME_BYTES
from msgspec import Struct

_Item = TypeVar("_Item", bound=Struct)


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
