"""The I/O of the generator's clients: TCP, and TLS by `bench.wire.TlsPipe`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from bench.options import BenchError
from bench.wire import TlsPipe, WebSocketClient, WireFault


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway's address, looked up once."""

    host: str
    port: int
    path: str
    tls: bool
    address: str
    family: socket.AddressFamily

    @classmethod
    def of(cls, url: str) -> Target:
        """Look `url` up.

        Raises:
            BenchError: it is no ``ws://`` or ``wss://`` URL, or its host is not known.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"ws", "wss"} or not parts.hostname:
            raise BenchError(f"--url must begin with ws:// or wss://, not {url}")
        tls = parts.scheme == "wss"
        port = parts.port or (443 if tls else 80)
        try:
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise BenchError(f"{parts.hostname} is not known: {error.strerror}") from None
        # IPv4 where there is both: source addresses and port ranges are simpler to reason about.
        family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        path = (parts.path or "/v1") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, port, path, tls, str(address[0]), family)

    @property
    def authority(self) -> str:
        """The Host header."""
        return f"{self.host}:{self.port}"


class Dialer:
    """Connects clients to targets and from source addresses in turn."""

    def __init__(
        self,
        urls: tuple[str, ...],
        source_ips: tuple[str, ...],
        cacert: str | None,
        subprotocol: str | None,
    ) -> None:
        self._targets = [Target.of(url) for url in urls]
        self._turn: Iterator[Target] = itertools.cycle(self._targets)
        self._sources = itertools.cycle(source_ips) if source_ips else None
        self._subprotocol = subprotocol
        self._context = ssl.create_default_context(cafile=cacert)
        self._context.set_alpn_protocols(["http/1.1"])
        self.session: ssl.SSLSession | None = None
        """A TLS session to take up again, of whichever connection got one last."""
        self.handshakes = 0
        self.resumed = 0

    async def dial(
        self, client: WebSocketClient, on_lost: Callable[[Exception | None], None], resume: bool
    ) -> Connection:
        """Open a connection for `client` and begin its handshakes.

        Raises:
            OSError: nobody accepts there, or a source address can't be had.
        """
        target = next(self._turn)
        local = None if self._sources is None else (next(self._sources), 0)
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(
            lambda: Connection(self, target, client, on_lost, resume),
            target.address,
            target.port,
            family=target.family,
            local_addr=local,
        )
        return protocol

    def pipe(
        self,
        target: Target,
        resume: bool,
        write: Callable[[bytes], None],
        on_ready: Callable[[], None],
        on_plain: Callable[[bytes], None],
    ) -> TlsPipe:
        """TLS for one connection."""
        session = self.session if resume else None
        return TlsPipe(self._context, target.host, session, write, on_ready, on_plain)

    def begin(self, client: WebSocketClient, target: Target) -> None:
        """Ask for the upgrade."""
        client.begin(target.authority, target.path, self._subprotocol)


class Connection(asyncio.Protocol):
    """Carries one client."""

    __slots__ = (
        "_client",
        "_dialer",
        "_fault",
        "_on_lost",
        "_pipe",
        "_resume",
        "_target",
        "_transport",
    )

    def __init__(
        self,
        dialer: Dialer,
        target: Target,
        client: WebSocketClient,
        on_lost: Callable[[Exception | None], None],
        resume: bool,
    ) -> None:
        self._dialer = dialer
        self._target = target
        self._client = client
        self._on_lost = on_lost
        self._resume = resume
        self._pipe: TlsPipe | None = None
        self._fault: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP is there."""
        self._transport = cast("asyncio.Transport", transport)
        client = self._client
        client.end = self._transport.close
        if not self._target.tls:
            client.write = self._transport.write
            self._dialer.begin(client, self._target)
            return
        self._pipe = self._dialer.pipe(
            self._target, self._resume, self._transport.write, self._secured, client.receive
        )
        client.write = self._pipe.send
        self._pipe.start()

    def _secured(self) -> None:
        assert self._pipe is not None
        self._dialer.handshakes += 1
        self._dialer.resumed += self._pipe.resumed
        self._dialer.begin(self._client, self._target)

    def data_received(self, data: bytes) -> None:
        """Hand on what came."""
        try:
            if self._pipe is None:
                self._client.receive(data)
            else:
                self._pipe.receive(data)
        except (WireFault, ssl.SSLError) as error:
            self._fault = error
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """TCP is gone."""
        self._on_lost(self._fault or exc)

    def keep_session(self) -> None:
        """Let later connections take this one's TLS session up."""
        if self._pipe is not None and (session := self._pipe.session) is not None:
            self._dialer.session = session

    def abort(self) -> None:
        """End it at once, without a word."""
        with contextlib.suppress(AttributeError):  # it never came to be
            self._transport.abort()
