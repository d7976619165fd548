"""Which server a connection goes to: one that is named, or the primary that sentinels name.

redis-py's own Sentinel client asks one sentinel and believes it. Here all are asked, and the newest
view counts, that of the highest configuration epoch: a sentinel that was cut off together with an
old primary goes on naming it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, Final

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway import files
from gateway.files import Reader, UnusableFile
from gateway.redis_url import RedisUrl, tls_files
from gateway.store.errors import Unavailable

CONNECT_TIMEOUT_S: Final = 5.0
SENTINEL_TIMEOUT_S: Final = 1.0
CHECK_S: Final = 1.0
"""How often the sentinels are asked whether the primary is still the primary."""


class TLSFiles:
    """What a `redis_url` names. redis-py reads these files in the event loop, at each connect."""

    def __init__(self, url: str) -> None:
        self._paths = tls_files(url)
        self._reader = Reader()

    async def check(self) -> None:
        """Read them, so that what would hold up the loop there is an error here: a pipe, a mount
        that hangs, or an encrypted key, for whose password OpenSSL asks the terminal.

        Raises:
            OSError: one can't be used.
        """
        if self._paths:
            await self._reader.run(partial(_check_files, self._paths))


def _check_files(paths: list[Path]) -> None:
    for path in paths:
        _check_file(path)


def _check_file(path: Path) -> None:
    # "BEGIN ENCRYPTED PRIVATE KEY" (RFC 7468 section 11), "Proc-Type: 4,ENCRYPTED" (RFC 1421).
    if b"ENCRYPTED" in files.read(path).data:
        raise UnusableFile(path, "it is encrypted, and nobody can be asked for its password")


class Server:
    """One server, always the same."""

    last_retry_s = 5.0
    """The longest pause between two attempts to connect."""

    def __init__(self, url: str, name: str) -> None:
        self._pool = _pool(url, name)
        self._files = TLSFiles(url)

    async def make(self) -> Any:
        """A redis-py connection to the server, which is not connected yet.

        Raises:
            Unavailable: nobody knows where the server is.
            OSError: a file that TLS needs can't be read.
        """
        await self._files.check()
        return self._pool.make_connection()  # type: ignore[no-untyped-call]

    async def verify(self, connection: Any) -> None:
        """Look at the server that `connection` has reached, before it is used.

        Raises:
            Unavailable: it is not the right one.
        """

    async def until_left(self) -> None:
        """Return when the server last made a connection to is not the right one any more."""
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        """Let go of what was needed to find the server."""


class SentinelPrimary(Server):
    """The server that sentinels hold for the primary of `url.service`, whichever that is."""

    last_retry_s = 1.0  # the next primary is known within seconds, and waits for everybody

    def __init__(self, url: RedisUrl, name: str) -> None:
        self._url = url
        self._name = name
        self._files = TLSFiles(url.text)
        self._at: tuple[str, int] | None = None
        self._sentinels = [_sentinel(url.of_sentinel(*host)) for host in url.hosts]

    async def make(self) -> Any:
        await self._files.check()
        self._at = await self.find()
        pool = _pool(self._url.of_server(*self._at), self._name)
        return pool.make_connection()  # type: ignore[no-untyped-call]

    async def verify(self, connection: Any) -> None:
        # Not ROLE, which Redis counts as dangerous: whoever may connect may say HELLO.
        await connection.send_command("HELLO", 2)
        told = await connection.read_response()
        if dict(zip(told[::2], told[1::2], strict=True)).get(b"role") != b"master":
            raise Unavailable("not_primary")

    async def until_left(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                if await self.find() != self._at:
                    return
            except Unavailable:
                continue  # without sentinels nothing changes

    async def find(self) -> tuple[str, int]:
        """Host and port of the primary, by the newest view that a sentinel has.

        Raises:
            Unavailable: no sentinel answers, or none knows the service.
        """
        answers = await asyncio.gather(
            *(each.sentinel_master(self._url.service, True) for each in self._sentinels),
            return_exceptions=True,
        )
        found = [answer for answer in answers if isinstance(answer, dict)]
        if not found:
            for answer in answers:
                if not isinstance(answer, RedisError | OSError | TimeoutError):
                    raise answer if isinstance(answer, BaseException) else TypeError(answer)
            raise Unavailable("no_sentinel")
        newest = max(found, key=lambda answer: int(answer["config-epoch"]))
        return newest["ip"], int(newest["port"])

    async def aclose(self) -> None:
        await asyncio.gather(*(each.aclose() for each in self._sentinels))


def server_of(url: RedisUrl, name: str) -> Server:
    """The server, or the primary, that `url` is about; not a cluster, which has several.

    `name` is what Redis shows of us.
    """
    return SentinelPrimary(url, name) if url.kind == "sentinel" else Server(url.text, name)


async def primary_url(url: RedisUrl) -> str:
    """What redis-py needs to connect to the one server, or to the primary as it is now.

    Raises:
        Unavailable: the sentinels do not tell.
    """
    if url.kind == "server":
        return url.text
    primary = SentinelPrimary(url, "homeport-admin")
    try:
        return url.of_server(*await primary.find())
    finally:
        await primary.aclose()


def _pool(url: str, name: str) -> ConnectionPool:
    return ConnectionPool.from_url(
        url,
        protocol=2,
        driver_info=None,
        client_name=name,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=CONNECT_TIMEOUT_S,
    )


def _sentinel(url: str) -> Any:  # redis-py types answers for decoded and undecoded clients alike
    return Redis.from_url(
        url,
        protocol=2,
        decode_responses=True,
        driver_info=None,
        socket_connect_timeout=SENTINEL_TIMEOUT_S,
        socket_timeout=SENTINEL_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
