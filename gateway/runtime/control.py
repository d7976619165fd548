"""The control socket, through which `homeport drain` reaches the supervisor of a running gateway.

The socket lies in the run folder, whose mode is 0700. Only the gateway's user and root can reach
it, and these may send the gateway signals anyway. A port would obey every process of the machine,
and every page that is open in a browser there.

The only request is `DRAIN`. There is no answer: the connection ends when the gateway does.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from gateway import files
from gateway.config import Settings
from gateway.files import write_private
from gateway.runtime import runfolder

DRAIN: Final = b"drain\n"

MAX_CLIENTS: Final = 16

_SOCKET: Final = "control.sock"
_ABOUT: Final = "gateway.json"


class _About(msgspec.Struct):
    """What tells one gateway of a machine from the others."""

    name: str
    pid: int


def name_of(settings: Settings, file: Path | None) -> str:
    """What a gateway is known by on its machine: its configuration file, or, where there is none,
    its region and addresses, as they are set."""
    if file is not None:
        return str(file.resolve())
    addresses = (settings.wss_listen, settings.plain_listen, settings.ops_listen)
    return " ".join([settings.region, *(each or "-" for each in addresses)])


class Control:
    """The supervisor's end; `drain` is called at each request. Its callbacks hang on `selector`, as
    the data of the keys."""

    def __init__(
        self, folder: Path, name: str, selector: selectors.BaseSelector, drain: Callable[[], None]
    ) -> None:
        write_private(folder / _ABOUT, msgspec.json.encode(_About(name, os.getpid())))
        self._selector = selector
        self._drain = drain
        self._clients: set[socket.socket] = set()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with _reached(folder) as path:
            self._listening.bind(path)
        self._listening.listen(MAX_CLIENTS)
        selector.register(self._listening, selectors.EVENT_READ, self._accept)

    @property
    def descriptors(self) -> list[int]:
        """What a forked child must close: a connection ends with the supervisor."""
        return [sock.fileno() for sock in (self._listening, *self._clients)]

    def close(self) -> None:
        """Accept no more, and end every connection."""
        self._listening.close()
        for sock in self._clients:
            sock.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listening.accept()
        except OSError:  # whoever it was has left, or descriptors ran out: they ask again
            return
        if len(self._clients) >= MAX_CLIENTS:
            sock.close()
            return
        sock.setblocking(False)
        self._clients.add(sock)
        self._selector.register(sock, selectors.EVENT_READ, partial(self._read, sock))

    def _read(self, sock: socket.socket) -> None:
        try:
            asked = sock.recv(64)
        except BlockingIOError:
            return
        except OSError:
            asked = b""
        if asked == DRAIN:
            self._drain()
            return
        self._selector.unregister(sock)
        self._clients.discard(sock)
        sock.close()


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that runs on this machine, whose run folder we may open."""

    folder: Path
    pid: int

    def ask_to_drain(self) -> socket.socket:
        """Have it leave; the connection that is returned ends with it.

        Raises:
            OSError: it has ended.
        """
        sock = socket.socket(socket.AF_UNIX)
        try:
            with _reached(self.folder) as path:
                sock.connect(path)
            sock.sendall(DRAIN)
        except OSError:
            sock.close()
            raise
        return sock


def running(name: str) -> list[Running]:
    """The gateways of this name, `name_of`, whose run folders we may open."""
    found = []
    for folder in runfolder.folders():
        try:
            about = msgspec.json.decode(files.read(folder / _ABOUT).data, type=_About)
        except (OSError, msgspec.DecodeError):
            continue  # another user's, or of a gateway that is just starting or ending
        if about.name == name and not runfolder.is_left_behind(folder):
            found.append(Running(folder, about.pid))
    return found


@contextlib.contextmanager
def _reached(folder: Path) -> Iterator[str]:
    """A path of the socket that is short enough for `sun_path` (unix(7)), wherever it lies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_SOCKET}"
    finally:
        os.close(descriptor)
