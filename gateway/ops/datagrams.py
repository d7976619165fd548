"""The reports that a worker sends to the ops process several times per second, each a datagram.

A datagram needs no connection, so either of the two can restart without the other noticing.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct, msgpack

SOCKET: Final = "ops.sock"
"""In the run folder: where the ops process listens for reports."""

MAX_BYTES: Final = 32 * 1024
"""No report is larger. What a worker can count has a few hundred names, all Homeport's own."""


class Numbers(Struct, array_like=True):
    """What a worker has counted since it began, and its gauges, under the names of
    `gateway.ops.metrics`.

    Attributes:
        values: of each counter and gauge its value, or one for each value of its label.
        histograms: of each histogram the observations in each bucket (they do not include those of
            the buckets before; the last bucket has no bound), and the sum of all, in seconds.
    """

    values: dict[str, float | dict[str, float]]
    histograms: dict[str, tuple[list[int], float]]


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
        numbers: its metrics, in one report per second.
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
    numbers: Numbers | None = None


_NOBODY: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ECONNREFUSED, errno.ENOENT})

_encode: Final = msgpack.Encoder().encode
_decode: Final = msgpack.Decoder(Report).decode

_log = structlog.get_logger()


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


class Ears:
    """The ops process' end. It takes the place of an earlier ops process, which was killed.

    Raises:
        OSError: the socket can't be made.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / SOCKET
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))

    def fileno(self) -> int:
        """The descriptor, which is readable when there is something to hear."""
        return self._socket.fileno()

    def hear(self) -> Iterator[Report]:
        """All that was sent and not heard yet. What is no report is logged and left out."""
        while True:
            try:
                data = self._socket.recv(MAX_BYTES)
            except BlockingIOError:
                return
            try:
                yield _decode(data)
            except msgspec.DecodeError:
                _log.error("report_malformed", size=len(data))

    def close(self) -> None:
        """Close the socket; its file stays."""
        self._socket.close()
