"""Mirrors gateway/net/lost.py."""

from __future__ import annotations

import errno
import os

import pytest

from gateway.net.lost import is_lost


@pytest.mark.parametrize(
    "code",
    [
        errno.ECONNRESET,
        errno.EPIPE,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENONET,
    ],
)
def test_an_end_of_the_connection_is_no_fault(code: int) -> None:
    """The kernel says it at the next call, whichever that is."""
    assert is_lost(OSError(code, os.strerror(code)))


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "too many"), OSError(errno.EBADF, "bad"), ValueError(), None]
)
def test_everything_else_may_be_ours(error: BaseException | None) -> None:
    """It is logged as a fault."""
    assert not is_lost(error)
