"""A TCP proxy before a server that can accept connections and reset them at once.

So do balancers, sidecars and stunnel while what is behind them is away. It runs in a thread of its
own, because a reset has to come while the client's loop is busy.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Final

_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: close(2) sends a reset (socket(7))."""


class ResettingProxy:
    """Forwards to `target`, or resets whoever connects while `resetting` is set.

    `resets` counts those.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.resetting = False
        self.resets = 0
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._others: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._ended = threading.Event()
        self._broken = threading.Event()

    @contextlib.contextmanager
    def running(self) -> Iterator[ResettingProxy]:
        """Serve until the end of the context."""
        self._selector.register(self._listening, selectors.EVENT_READ)
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def break_all(self) -> None:
        """Reset the connections there are, and all that come until `mend`."""
        self.resetting = True
        self._broken.set()

    def mend(self) -> None:
        """Forward again."""
        self.resetting = False

    def _run(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.01):
                if key.fileobj is self._listening:
                    self._accept()
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._forward(key.fileobj)
            if self._broken.is_set():
                self._broken.clear()
                for end in list(self._others):
                    self._drop(end)
        for end in list(self._others):
            self._drop(end)
        self._listening.close()
        self._selector.close()

    def _accept(self) -> None:
        client, _ = self._listening.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        if self.resetting:
            self.resets += 1
            client.close()
            return
        server = socket.create_connection(self._target)
        for one, other in ((client, server), (server, client)):
            self._others[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, end: socket.socket) -> None:
        if end not in self._others:  # its other end has just gone
            return
        data = b""
        with contextlib.suppress(OSError):
            data = end.recv(65536)
        if not data:
            self._drop(end)
            return
        with contextlib.suppress(OSError):
            self._others[end].sendall(data)

    def _drop(self, end: socket.socket) -> None:
        other = self._others.pop(end, None)
        if other is None:
            return
        self._others.pop(other, None)
        for each in (end, other):
            self._selector.unregister(each)
            each.close()
