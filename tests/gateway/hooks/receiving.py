"""A receiver of webhooks: a real HTTPS server, which answers as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from gateway.dev.certificates import DevCerts

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Receiver:
    """What came: each with its headers and body. `answer` says what it answers."""

    port: int = 0
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answer: Answer | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://localhost:{self.port}/hook"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take one event."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.came.append((headers, await request.read()))
        self.arrived.set()
        if self.answer is not None:
            return await self.answer(request)
        return web.Response(status=204)


@contextlib.asynccontextmanager
async def receiving(certs: DevCerts | None) -> AsyncIterator[Receiver]:
    """A receiver with a certificate of the dev CA; without one it speaks no TLS."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/{path:.*}", receiver.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    tls = None
    if certs is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certs.cert, certs.key)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()


def trust(certs: DevCerts) -> ssl.SSLContext:
    """What trusts the dev CA."""
    return ssl.create_default_context(cafile=str(Path(certs.ca)))
