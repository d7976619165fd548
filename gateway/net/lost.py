"""How it looks when the other end of a connection is gone, which is no fault of anybody's.

The kernel says so at the next call, whichever that is: ENOTCONN where a reset came before the end
of writing was to be told, a timeout where a network is gone (tcp(7), ip(7)).
"""

from __future__ import annotations

import errno
from typing import Final

_ERRORS: Final = frozenset(
    {
        errno.ENOTCONN,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENONET,
        errno.EPROTO,
    }
)
"""Beside those that Python has classes for: resets, broken pipes and timeouts."""


def is_lost(error: BaseException | None) -> bool:
    """True where `error` says that a connection is gone."""
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return isinstance(error, OSError) and error.errno in _ERRORS
