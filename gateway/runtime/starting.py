"""Where a worker listens, and why one must not start."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from gateway.address import Address


class StartError(Exception):
    """This gateway must not, or can't, start. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a gateway accepts connections, with TLS and without, in the order of its settings; and
    where its API does."""

    all_wss: tuple[Address, ...] = ()
    all_plain: tuple[Address, ...] = ()
    all_api: tuple[Address, ...] = ()

    @property
    def wss(self) -> Address | None:
        """The first with TLS."""
        return self.all_wss[0] if self.all_wss else None

    @property
    def plain(self) -> Address | None:
        """The first without."""
        return self.all_plain[0] if self.all_plain else None


def cannot_listen(where: str, error: OSError) -> StartError:
    """What to say of an address that can't be had."""
    # asyncio's own text repeats the address, and the number.
    if error.errno and not isinstance(error, socket.gaierror):
        reason = os.strerror(error.errno)
    else:
        reason = error.strerror or str(error)
    return StartError(f"can't listen on {where}: {reason}; choose another address")
