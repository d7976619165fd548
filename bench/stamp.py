"""What the bench writes at the end of each body: who sent it, its number, when it was due.

The last bytes, because a message without `extra` ends with its body and a nil: so a receiver finds
the stamp from the end of the frame, without decoding what stands before it.
"""

from __future__ import annotations

import struct
from typing import Final

STAMP: Final = struct.Struct(">IIIQ")
"""Run (so that older messages are told apart), sender, its number from 0, due in monotonic ns."""

SIZE: Final = STAMP.size
"""Bytes of a stamp."""

FROM_END: Final = SIZE + 1
"""Where a stamp begins, counted from the end of a push: its own size, and the nil of `extra`."""
