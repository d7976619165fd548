"""The reports that a worker sends to the ops process several times per second, each a datagram.

A datagram needs no connection, so either of the two can restart without the other noticing.
"""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Final

from msgspec import Struct, msgpack

SOCKET: Final = "ops.sock"
"""In the run folder: where the ops process listens for reports."""

METRICS_FOLDER: Final = "metrics"
"""In the run folder: the folder of prometheus-client's files, in which processes count."""


class Report(Struct, array_like=True, frozen=True):
    """The state of a worker.

    Attributes:
        worker: its name.
        pid: its process.
        state: a state of `gateway.runtime.status.Status`.
        to_drain, left: sessions when the drain began, and those of them still open.
        proof_s: seconds since the last probe was sent that came back in time; below 0: none did.
        fault: the part in which probes are lost, if `proof_s` is too old.
        lost: the name of a task that the worker needs and that has ended; empty: all run.
        clock_off_s: seconds by which this machine's clock is ahead of the region's time; 0 unless
            that is too much.
    """

    worker: str
    pid: int
    state: str
    to_drain: int
    left: int
    proof_s: float
    fault: str
    lost: str
    clock_off_s: float = 0.0


_NOBODY: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED, errno.ENOENT})

_encode: Final = msgpack.Encoder().encode
_decode: Final = msgpack.Decoder(Report).decode


def read(data: bytes) -> Report:
    """Read a datagram. Raises msgspec.DecodeError where it is no report."""
    return _decode(data)


class Mouth:
    """The worker's end. An ops process that is away, or does not listen, misses a report."""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / SOCKET)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def say(self, report: Report) -> bool:
        """Send a report; False where nobody takes it."""
        try:
            self._socket.sendto(_encode(report), self._path)
        except OSError as error:
            if error.errno not in _NOBODY:
                raise
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
