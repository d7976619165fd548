"""What a worker tells the ops process of itself, several times a second: one datagram each.

A datagram needs no connection, so whichever of the two is started anew, nobody has to notice.
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
    """How a worker is.

    Attributes:
        worker: its name.
        pid: its process.
        state, to_drain, left: as `gateway.runtime.status.Status`.
        proof_s: seconds since a probe was sent that came back in time; below 0: none did yet.
        fault: the part in which probes are lost, if `proof_s` says that they are.
        lost: the name of a task that it needs and that has ended; empty: all are there.
        clock_off_s: by how much this machine's clock is ahead of the region's time, in seconds; 0
            unless that is too much.
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
