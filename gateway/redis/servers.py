"""Which server a connection goes to: one that is named, or the primary that sentinels name.

redis-py's own Sentinel client asks one sentinel and believes it. Here all are asked, and the newest
view counts, that of the highest configuration epoch: a sentinel that was cut off together with an
old primary goes on naming it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway import files
from gateway.files import FileReader, UnusableFile
from gateway.redis.errors import FORBIDDEN, OperationFailed, RedisRefused, Unavailable
from gateway.redis.reasons import is_refusal, reason_of
from gateway.redis.url import RedisUrl, place_of

CONNECT_TIMEOUT_S: Final = 5.0
SENTINEL_TIMEOUT_S: Final = 1.0
CHECK_S: Final = 1.0
"""How often the sentinels are asked whether the primary is still the primary."""


class TLSFiles:
    """What a `redis_url` names. redis-py reads these files in the event loop, at each connect."""

    def __init__(self, url: RedisUrl) -> None:
        self._paths = [Path(name) for name in url.tls_files.values()]
        self._reader = FileReader()

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
    """One server, always the same: that of `url`, or else the one at `host` and `port`.

    `name` is what Redis shows of us. `place` says in a text where it is.
    """

    last_retry_s = 5.0
    """The longest pause between two attempts to connect."""

    def __init__(self, url: RedisUrl, name: str, host: str = "", port: int = 0) -> None:
        self.url = url
        self.place = place_of(host, port) if host else _place(url)
        self._pool = _pool(url.of_server(host, port), name)
        self._files = TLSFiles(url)

    def explain(self, error: Exception) -> str:
        """Why this server can't be used, for the log and for operators; without secrets."""
        if isinstance(error, Unavailable):
            return error.detail or error.reason
        if isinstance(error, OperationFailed | UnusableFile):
            return str(error)
        return reason_of(error, tls=self.url.tls, secrets=self.url.secrets)

    def failure(self, error: Exception) -> OperationFailed:
        """`error`, which a connect ended with, as whoever gives up by it is told."""
        if isinstance(error, Unavailable) and error.reason == FORBIDDEN:
            return RedisRefused(self.place, error.detail)
        if isinstance(error, OperationFailed):
            return error
        reason = self.explain(error)
        if is_refusal(error):
            return RedisRefused(self.place, reason)
        return Unavailable(type(error).__name__, detail=f"{self.place}: {reason}")

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
        self.url = url
        self.place = _place(url)
        self._name = name
        self._files = TLSFiles(url)
        self._at: tuple[str, int] | None = None
        self._sentinels = [_sentinel(url.of_sentinel(*host)) for host in url.hosts]

    async def make(self) -> Any:
        await self._files.check()
        self.place = _place(self.url)
        self._at = await self.find()
        self.place = place_of(*self._at)
        pool = _pool(self.url.of_server(*self._at), self._name)
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
            *(each.sentinel_master(self.url.service, True) for each in self._sentinels),
            return_exceptions=True,
        )
        found = [answer for answer in answers if isinstance(answer, dict)]
        if not found:
            raise Unavailable("no_sentinel", detail=self._silent(answers))
        newest = max(found, key=lambda answer: int(answer["config-epoch"]))
        return newest["ip"], int(newest["port"])

    def _silent(self, answers: list[Any]) -> str:
        """What each sentinel says in the place of an answer."""
        secrets = self.url.secrets
        whys = [
            reason_of(answer, tls=self.url.tls, secrets=secrets)
            if isinstance(answer, Exception)
            else "it does not tell"
            for answer in answers
        ]
        places = [place_of(*host) for host in self.url.hosts]
        each = [f"{where}: {why}" for where, why in zip(places, whys, strict=False)]
        return f"no sentinel names the primary {self.url.service!r} ({'; '.join(each)})"

    async def aclose(self) -> None:
        await asyncio.gather(*(each.aclose() for each in self._sentinels))


def server_of(url: RedisUrl, name: str) -> Server:
    """The server, or the primary, that `url` is about; not a cluster, which has several.

    `name` is what Redis shows of us.
    """
    return SentinelPrimary(url, name) if url.kind == "sentinel" else Server(url, name)


def transport_of(connection: Any) -> asyncio.Transport:
    """The transport of a redis-py connection that is connected, to be given another protocol.

    redis-py has no public way to it. What connects with TLS, as an ACL user, to a unix socket or by
    a sentinel's word would have to be written anew without this one private name.
    """
    return cast(asyncio.Transport, connection._writer.transport)


def _place(url: RedisUrl) -> str:
    """The whole of it, as a text names it."""
    return url.path or ",".join(place_of(*host) for host in url.hosts)


def _pool(options: dict[str, Any], name: str) -> ConnectionPool:
    return Redis(
        **options,
        protocol=2,
        driver_info=None,
        client_name=name,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),  # who connects tries again, and says why
    ).connection_pool


def _sentinel(options: dict[str, Any]) -> Any:  # redis-py types decoded and undecoded clients alike
    return Redis(
        **options,
        protocol=2,
        decode_responses=True,
        driver_info=None,
        socket_connect_timeout=SENTINEL_TIMEOUT_S,
        socket_timeout=SENTINEL_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
