"""Listening sockets, and the connections that came through them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from typing import Any, Final

import aiofastnet
from aiofastnet.constants import SSL_BIO_SIZE_DEFAULTS

from gateway.config import Address
from gateway.net.outbound import Outbound
from gateway.net.websocket import Origins, WebSocketConnection
from gateway.session.services import Services
from gateway.session.session import Session
from protocol.limits import CONNECT_TIMEOUT_S

BACKLOG: Final = 4096

TLS_WRITE_BYTES: Final = 16 * 1024 + 64
"""The buffer of a TLS connection for what it writes: a record and its frame (RFC 8446 section 5.1).

aiofastnet's own buffers are 257 KiB. Little of one is touched at first, but after each reconnect
the allocator hands out other parts, and a connection grows by 17 KiB each time until all is
touched."""

TLS_READ_BYTES: Final = 4 * 1024
"""The buffer for what it reads; a larger record is read in several turns, as a slow network's is.

The argument for it takes no less than 16 KiB, for no reason of its own: the default, which is not
checked, does."""

SSL_BIO_SIZE_DEFAULTS["ssl_incoming_bio_size"] = TLS_READ_BYTES


class Listener:
    """Accepts WebSocket connections on any number of addresses, until `stop`."""

    def __init__(self, services: Services, origins: Origins, *, shared: bool = False) -> None:
        """`shared`: other processes listen on the same addresses, and the kernel chooses."""
        self._services = services
        self._shared = shared
        self._origins = origins
        self._servers: list[Any] = []
        self._connections: set[WebSocketConnection] = set()
        self._outbound = Outbound()

    async def listen(self, address: Address, tls: ssl.SSLContext | None) -> Address:
        """Listen on `address`, with TLS when `tls` is given; port 0 takes a free one.

        Returns the address that it became.

        Raises:
            OSError: the address can't be had.
        """
        server = await aiofastnet.create_server(
            asyncio.get_running_loop(),
            self._accept,
            address.host,
            address.port,
            ssl=tls,
            backlog=BACKLOG,
            reuse_port=self._shared,
            ssl_handshake_timeout=CONNECT_TIMEOUT_S if tls else None,
            ssl_outgoing_bio_size=TLS_WRITE_BYTES if tls else None,
        )
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()[:2]
        return Address(host, port)

    def _accept(self) -> WebSocketConnection:
        return WebSocketConnection(self._services, self._origins, self._connections, self._outbound)

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
        for server in self._servers:
            server.close()
        self._servers.clear()

    def abort(self) -> None:
        """End every connection that is still open."""
        for connection in tuple(self._connections):
            connection.abort()
