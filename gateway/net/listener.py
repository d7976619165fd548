"""Listening sockets, and the connections that came through them."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterator
from typing import Final

from gateway import sockets
from gateway.address import Address
from gateway.config import Settings
from gateway.net.acceptor import Acceptor
from gateway.net.admission import Admission, Visit
from gateway.net.framing import Framer
from gateway.net.outbound import Outbound
from gateway.net.outboxes import Outboxes
from gateway.net.upgrade import Upgrades
from gateway.net.websocket import WebSocketConnection
from gateway.session.session import Session
from gateway.session.sessions import Sessions
from gateway.session.timing import Timing
from gateway.turns import Turns

BUDGET_S: Final = 0.002
"""Seconds of one turn of the loop that all connections together may take for what they still have.
What has just come from clients that ask for little is not counted, and never waits for these."""


class Listener:
    """Accepts WebSocket connections on any number of addresses, until `stop`.

    Attributes:
        admission: who is let in, and how many each address has open.
        outboxes: the connections whose clients do not keep up.
        refused: how many connections were refused here, by reason (`gateway.net.admission`).
    """

    def __init__(
        self,
        sessions: Sessions,
        timing: Timing,
        upgrades: Upgrades,
        settings: Settings,
        *,
        shared: bool = False,
    ) -> None:
        """`shared`: other processes listen on the same addresses, and the kernel chooses."""
        self._sessions = sessions
        self._timing = timing
        self._upgrades = upgrades
        self._shared = shared
        self._acceptors: list[Acceptor] = []
        self._connections: set[WebSocketConnection] = set()
        self._framer = Framer()
        self._outbound = Outbound()
        self._turns = Turns(BUDGET_S)
        self.admission = Admission(settings, timing.clock.steady)
        self.outboxes = Outboxes(settings.max_outbox_bytes, timing.wheel, timing.clock.steady)
        self.refused: Counter[str] = self.admission.refused

    def adopt(self, settings: Settings) -> None:
        """Hold to the limits of `settings` from now on. Connections that are open stay."""
        self.admission.adopt(settings)
        self.outboxes.limit = settings.max_outbox_bytes

    def listen(
        self, address: Address, tls: ssl.SSLContext | None, *, proxied: bool = False
    ) -> Address:
        """Listen on `address`, with TLS when `tls` is given; port 0 takes a free one.

        `proxied`: every connection begins with a header of PROXY protocol v2, before TLS. Returns
        the address that it became.

        Raises:
            OSError: the address can't be had.
        """
        found = sockets.listen(address, shared=self._shared)
        host, port = found[0].getsockname()[:2]
        for sock in found:
            acceptor = Acceptor(
                sock, self._make, self.admission, self._timing.clock.steady, tls, proxied
            )
            self._acceptors.append(acceptor)
            acceptor.start()
        return Address(host, port)

    def use_certificate(self, tls: ssl.SSLContext) -> None:
        """Use `tls` for connections that are accepted from now on by the listeners with TLS.

        Connections that are open or in their handshake keep the context that they began with.
        """
        for acceptor in self._acceptors:
            acceptor.use_certificate(tls)

    def _make(self, visit: Visit) -> WebSocketConnection:
        return WebSocketConnection(
            self._sessions,
            self._upgrades,
            self._timing,
            visit,
            connections=self._connections,
            framer=self._framer,
            outbound=self._outbound,
            outboxes=self.outboxes,
            turns=self._turns,
        )

    def sessions(self) -> Iterator[Session]:
        """The sessions whose connections are open, authenticated or not."""
        for connection in tuple(self._connections):
            if connection.session is not None:
                yield connection.session

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    def stop(self) -> None:
        """Accept no more. Open connections go on."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()

    def abort(self) -> None:
        """End every connection that is still open."""
        for connection in tuple(self._connections):
            connection.abort()
