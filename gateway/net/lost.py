"""The errors that mean that the other end of a connection is gone, which is not a fault.

The kernel reports it at the next call, whichever that is: ENOTCONN if a reset arrived before
shutdown(2), a timeout if a network is gone (tcp(7), ip(7)).
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
