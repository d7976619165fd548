"""Sends one event to one endpoint, whatever stands there.

A receiver may be slow, hang, answer for ever, lead elsewhere or have a wrong certificate. An
attempt takes little more than `WITHIN_S`, holds at most `ANSWER_BYTES` of what is answered, and
follows nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp

from gateway.hooks.guard import ForbiddenAddress, Guard

WITHIN_S: Final = 15.0
"""Seconds that an attempt may take."""

REST_S: Final = 2.0
"""Seconds that the rest of an answer may take once its status is known."""

ANSWER_BYTES: Final = 1024
"""Bytes of an answer that are read."""

CONNECTIONS: Final = 4096
IDLE_S: Final = 30.0
DNS_S: Final = 30
"""Connections at most, seconds that one stays open for the next event, and that a name's addresses
are remembered."""


class Answer(NamedTuple):
    """What came of an attempt: a `status`, and the begin of the `body`; or, with status 0, an
    `error`. `retry_after_s` is what the receiver asks for, None where it does not."""

    status: int
    error: str
    body: bytes
    retry_after_s: float | None

    @property
    def ok(self) -> bool:
        """Whether the receiver took the event."""
        return 200 <= self.status < 300


class Sender:
    """Sends events. `tls` is what certificates are held against; None: the system's CAs."""

    def __init__(self, guard: Guard, tls: ssl.SSLContext | None = None) -> None:
        self._guard = guard
        self._tls = tls
        self._opened: aiohttp.ClientSession | None = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        """Opened by the first attempt: most gateways never send one."""
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._guard,
                ssl=self._tls or ssl.create_default_context(),
                limit=CONNECTIONS,
                keepalive_timeout=IDLE_S,
                ttl_dns_cache=DNS_S,
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy would look the name up itself
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"content-type": "application/json", "user-agent": "Homeport"},
        )

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, now_s: float) -> Answer:
        """One attempt, at `now_s` seconds since 1970."""
        try:
            self._guard.check(urlsplit(url).hostname or "")
            async with asyncio.timeout(WITHIN_S):
                response = await self._session.post(
                    url, data=body, headers=headers, allow_redirects=False
                )
        except TimeoutError:
            return Answer(0, "timeout", b"", None)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(0, _word(error), b"", None)
        try:
            begin = await _begin_of(response)
        finally:
            # Whoever says more than that is heard no longer; else the connection is used again.
            if not response.content.at_eof():
                response.close()
            response.release()
        after = response.headers.get("retry-after")
        return Answer(response.status, "", begin, _seconds(after, now_s))

    async def aclose(self) -> None:
        """Close all connections."""
        if self._opened is not None:
            await self._opened.close()


async def _begin_of(response: aiohttp.ClientResponse) -> bytes:
    begin = b""
    try:
        async with asyncio.timeout(REST_S):
            while len(begin) < ANSWER_BYTES and not response.content.at_eof():
                begin += await response.content.read(ANSWER_BYTES - len(begin))
    except (aiohttp.ClientError, OSError, ValueError):  # a timeout is an OSError, too
        pass  # the status is what counts
    return begin


def _word(error: Exception) -> str:
    """Why there is no answer, for the record and the metrics: one of a few words."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "forbidden" if isinstance(error.os_error, ForbiddenAddress) else "dns"
    if isinstance(error, ForbiddenAddress):
        return "forbidden"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "tls"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connect"
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError | ValueError):
        return "answer"
    return "connection_lost"


def _seconds(text: str | None, now_s: float) -> float | None:
    """What Retry-After asks for (RFC 9110, 10.2.3): seconds, or a date."""
    if text is None:
        return None
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None
