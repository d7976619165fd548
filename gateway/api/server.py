"""The server: uvicorn on listening sockets, with bounds that it lacks, and a certificate that can
change."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 32 * 1024
"""Bytes of a request's head; httptools has no bound."""

HEAD_S: Final = 10.0
"""Seconds in which a head has to arrive, from the connection or its first byte on."""

IDLE_S: Final = 75
"""How long a connection without a request stays open."""

MAX_CONNECTIONS: Final = 4096
"""Open connections of one process. The next one is closed at once."""


class _Connection(HttpToolsProtocol):
    """A connection whose heads are bounded in bytes and in time."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head = 0
        self._late: asyncio.TimerHandle | None = None
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._late is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()
        waiting = self._late is not None
        super().data_received(data)
        if waiting and self._late is not None:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self.transport.abort()

    def on_headers_complete(self) -> None:
        self._there()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._there()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._head = 0
        self._late = self.loop.call_later(HEAD_S, self._too_late)

    def _there(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        self.transport.abort()


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the process that it is part of, and tells when it accepts."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepts = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepts.set()


class Server:
    """Serves `app` on `sockets`, with TLS where there is a `context`."""

    def __init__(self, app: ASGIApp, context: ssl.SSLContext | None, drain_s: float) -> None:
        self._context = context
        if context is not None:
            context.sni_callback = self._choose
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                app,
                http=_Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=IDLE_S,
                timeout_graceful_shutdown=max(1, int(drain_s)),
                ssl_context_factory=None if context is None else lambda *_: context,
            )
        )

    @property
    def open(self) -> int:
        """Open connections."""
        return len(self._uvicorn.server_state.connections)

    async def run(self, sockets: list[socket.socket]) -> None:
        """Accept connections until `stop`, and answer what had come by then."""
        await self._uvicorn.serve(sockets)

    async def accepts(self) -> None:
        """Wait until it does."""
        await self._uvicorn.accepts.wait()

    def stop(self) -> None:
        """Accept no more, and end."""
        self._uvicorn.should_exit = True

    def hurry(self) -> None:
        """Wait for nobody."""
        self._uvicorn.force_exit = True

    def use_certificate(self, context: ssl.SSLContext) -> None:
        """Show another certificate to whoever connects from now on."""
        self._context = context

    def _choose(self, connection: Any, _: str | None, __: ssl.SSLContext) -> None:
        """Choose the context of a connection (`ssl.SSLContext.sni_callback`); also for clients that
        name no server."""
        connection.context = self._context
