"""One listening socket: how many connections are accepted, when, and which are refused.

asyncio's own servers, and aiofastnet's, take thousands of connections in one turn of the loop and
know no limits by address. When descriptors run out, aiofastnet 1.2 fails in its own error handling
and then spins. The loop of `accept` is therefore here; the transports are aiofastnet's.

- A turn of the loop accepts `ACCEPTS_A_TURN`: a storm waits in the kernel's queue, in line, and
  connected clients are served in between.
- A connection from an address that has too many is closed before TLS.
- Where PROXY protocol is on, the header is read to the byte, and TLS begins behind it.
- With `RESERVE` descriptors left, or none, accepting pauses until there are more.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import aiofastnet
import structlog
from aiofastnet.constants import SSL_BIO_SIZE_DEFAULTS
from homeport.limits import CONNECT_TIMEOUT_S

from gateway.net import proxy_protocol
from gateway.net.addresses import Ip, address
from gateway.net.admission import BAD_HEADER, UNTRUSTED, Admission, TooMany, Visit
from gateway.net.proxy_protocol import BadHeader

ACCEPTS_A_TURN: Final = 8
"""A TLS handshake is 0.3 ms, a connect with all that belongs to it 0.7. So a turn of the loop in a
storm is some 6 ms."""

RESERVE: Final = 64
"""Descriptors that clients don't get: Redis' connections (two, or two for each primary of a
cluster, and as many anew after a failover), files that are read again, reports."""

RETRY_S: Final = 0.25
"""How often to look whether there are descriptors again."""

HEADER_TIMEOUT_S: Final = CONNECT_TIMEOUT_S
"""Seconds that a balancer has for its header. haproxy sends it with its first bytes."""

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

_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_log = structlog.get_logger()


class Acceptor:
    """Accepts on `sock`, which listens and does not block, from `start` until `close`.

    `make` makes a connection's protocol. `proxied`: each connection begins with a header of PROXY
    protocol v2. A peer without TLS and without that header is this machine or a proxy by the
    rules of the configuration, and is not counted by its address.
    """

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[Visit], asyncio.Protocol],
        admission: Admission,
        steady: Callable[[], float],
        tls: ssl.SSLContext | None,
        proxied: bool,
    ) -> None:
        self._sock = sock
        self._make = make
        self._admission = admission
        self._steady = steady
        self._proxied = proxied
        self._counted = tls is not None or proxied
        self._options: dict[str, Any] = {}
        if tls is not None:
            self._options = {
                "ssl": tls,
                "ssl_handshake_timeout": CONNECT_TIMEOUT_S,
                "ssl_outgoing_bio_size": TLS_WRITE_BYTES,
            }
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._exhausted = False

    def use_certificate(self, tls: ssl.SSLContext) -> None:
        """Use `tls` for connections that are accepted from now on, if this listener has TLS."""
        if self._options:
            self._options["ssl"] = tls

    def start(self) -> None:
        """Accept, now or again."""
        self._retry = None
        self._loop.add_reader(self._sock, self._ready)

    def close(self) -> None:
        """Accept no more; connections that are still in their TLS handshake end."""
        if self._retry is not None:
            self._retry.cancel()
        else:
            self._loop.remove_reader(self._sock)
        self._sock.close()
        for task in self._opening:
            task.cancel()

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._sock)
        self._retry = self._loop.call_later(seconds, then)

    # -- accept ----------------------------------------------------------------------------------

    def _ready(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        for _ in range(ACCEPTS_A_TURN):
            if wait := self._admission.pace():
                self._pause(max(wait, 0.01), self.start)
                return
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    _log.warning("accept_failed", reason=os.strerror(error.errno or 0))
                else:
                    self._out_of_descriptors(soft)
                self._pause(RETRY_S, self._look)
                return
            self._take(sock, address(peer[0]))
            # A descriptor is the lowest free number (POSIX, section 2.14), so this many are in use.
            if _reserved(sock.fileno(), soft):
                self._out_of_descriptors(soft)
                self._pause(RETRY_S, self._look)
                return

    def _out_of_descriptors(self, soft: int) -> None:
        if not self._exhausted:
            self._exhausted = True
            _log.error(
                "accept_paused",
                reason="out of file descriptors",
                limit=soft,
                advice="raise the limit of open files (ulimit -n, LimitNOFILE), or add workers",
            )

    def _look(self) -> None:
        """Are there descriptors again?"""
        try:
            free = os.dup(self._sock.fileno())
        except OSError:
            free = None
        if free is not None:
            os.close(free)
            if not _reserved(free, resource.getrlimit(resource.RLIMIT_NOFILE)[0]):
                if self._exhausted:
                    self._exhausted = False
                    _log.warning("accepting_again")
                self.start()
                return
        self._retry = self._loop.call_later(RETRY_S, self._look)

    # -- one connection --------------------------------------------------------------------------

    def _take(self, sock: socket.socket, peer: Ip | None) -> None:
        proxy = peer is not None and peer in self._admission.trusted
        visit = Visit(self._admission, self._steady(), proxy)
        if self._proxied and not proxy:
            self._admission.refuse(UNTRUSTED, peer)
            sock.close()
            return
        if self._counted and not proxy and peer is not None:
            try:
                visit.identify(peer)
            except TooMany:  # which Admission has counted
                sock.close()
                return
        sock.setblocking(False)
        task = self._loop.create_task(self._open(sock, peer, visit))
        self._opening.add(task)
        task.add_done_callback(partial(self._opened, sock, visit))

    def _opened(self, sock: socket.socket, visit: Visit, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if task.cancelled():  # perhaps before it began
            sock.close()
            visit.end()
        elif (error := task.exception()) is not None:
            _log.error("connection_failed", exc_info=error)
            visit.end()

    async def _open(self, sock: socket.socket, peer: Ip | None, visit: Visit) -> None:
        """Read the header, where there is one, and have the transport made."""
        try:
            # The kernel would hold a frame back that follows another, an `ok` behind a push, until
            # the client's own has acknowledged the first: 40 ms. What goes together is one write.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._proxied and not await self._told(sock, peer, visit):
                return
            await aiofastnet.connect_accepted_socket(
                self._loop, lambda: self._make(visit), sock, **self._options
            )
        except OSError:
            visit.end()  # the client left, or TLS failed: an SSLError is an OSError

    async def _told(self, sock: socket.socket, peer: Ip | None, visit: Visit) -> bool:
        """Read the header; False where the connection is closed for what it says."""
        loop = self._loop
        try:
            async with asyncio.timeout(HEADER_TIMEOUT_S):
                ip = await proxy_protocol.read(lambda count: loop.sock_recv(sock, count))
            if ip is not None:
                visit.identify(ip)
        except (BadHeader, TimeoutError, OSError):
            self._admission.refuse(BAD_HEADER, peer)
            sock.close()
            return False
        except TooMany:  # which Admission has counted
            sock.close()
            return False
        return True


def _reserved(descriptor: int, soft: int) -> bool:
    """True where a descriptor of this number is one of the reserve."""
    return soft != resource.RLIM_INFINITY and descriptor >= max(soft - RESERVE, soft // 2)
