"""What every request passes: its size and its time, whose it is, and what every answer carries.

An ASGI application around the one with the routes. It reads a request's body whole before anything
is done, bounded in bytes and seconds, and only for those who may ask at all.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.auth import Auth, Caller
from gateway.api.problems import PLACE, Problem
from gateway.tally import BOUNDS_S, Histogram

MAX_BYTES: Final = 1024 * 1024
"""Largest body of a request: the largest body of a message in base64, and room for what is around
it, several times over."""

BODY_S: Final = 10.0
"""Seconds in which the body has to arrive."""

ANSWER_S: Final = 30.0
"""Seconds in which an answer must be made."""

MAX_OPEN: Final = 512
"""Requests that a process has in hand at once. Another one is told to come again."""

OPEN_TO_ALL: Final = ("/.well-known/", PLACE, "/v1/openapi.json")
"""Where nobody has to say who they are."""

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
"""W3C Trace Context, version 00."""

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})

_ALWAYS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)

_log = structlog.get_logger()


class _Later(Exception):
    """The client has gone before its request was there."""


@dataclass(slots=True)
class Seen:
    """What a process of the API counts.

    `answers` is by status, `seconds` from a request's head to its answer; `open` is how many are in
    hand.
    """

    answers: Counter[str] = field(default_factory=Counter)
    seconds: Histogram = field(default_factory=lambda: Histogram(BOUNDS_S))
    open: int = 0


AtOnce = Callable[[Caller, bytes], Awaitable[Response]]
"""Answers a request by its body, without the application behind the front."""


class Front:
    """The application that the server runs. `allowed` tells which methods a path takes; `at_once`
    has, by method and path, what is answered without `app`."""

    def __init__(
        self,
        app: ASGIApp,
        auth: Auth,
        region: str,
        allowed: Callable[[Scope], Iterable[str]],
        at_once: Mapping[tuple[str, str], AtOnce],
    ) -> None:
        self._at_once = at_once
        self._app = app
        self._auth = auth
        self._allowed = allowed
        self._always = [*_ALWAYS, (b"homeport-region", region.encode())]
        self.seen = Seen()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        loop = asyncio.get_running_loop()
        began, request_id = loop.time(), secrets.token_hex(16)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scope["request_id"] = request_id
        answer = _Answer(send, [*self._always, (b"homeport-request-id", request_id.encode())])
        if (trace := _trace(headers)) is not None:
            answer.always.append((b"traceresponse", trace))
        self.seen.open += 1
        try:
            await self._answer(scope, receive, answer, headers)
        except Problem as problem:
            await answer.refuse(problem, request_id)
        except _Later:
            return
        except TimeoutError:
            await answer.refuse(Problem("unavailable", retry_after=1.0), request_id)
        except Exception as error:  # noqa: BLE001 - the boundary of a request
            _log.error("request_failed", request=request_id, exc_info=error)
            await answer.refuse(Problem("internal"), request_id)
        finally:
            self.seen.open -= 1
            self.seen.answers[str(answer.status)] += 1
            self.seen.seconds.observe(loop.time() - began)

    async def _answer(
        self, scope: Scope, receive: Receive, answer: _Answer, headers: dict[bytes, bytes]
    ) -> None:
        if self.seen.open > MAX_OPEN:
            raise Problem("unavailable", "Too many requests at once.", retry_after=1.0)
        method = scope["method"]
        if not scope["path"].startswith(OPEN_TO_ALL) and method != "OPTIONS":
            given = headers.get(b"authorization", b"").decode("latin-1")
            scope["caller"] = await self._auth.caller(given)
        if method in _WITH_BODY:
            body = await _body(receive, headers)
            at_once = self._at_once.get((method, scope["path"]))
            if at_once is not None:
                async with asyncio.timeout(ANSWER_S):
                    response = await at_once(scope["caller"], body)
                await response(scope, receive, answer)
                return
            receive = _once(body)
        elif method == "OPTIONS":
            await answer.allow(sorted(self._allowed(scope)))
            return
        elif method == "HEAD":
            scope = {**scope, "method": "GET"}  # the server leaves the body out
        async with asyncio.timeout(ANSWER_S):
            await self._app(scope, receive, answer)


class _Answer:
    """Sends an answer, with the headers that each has."""

    __slots__ = ("_send", "always", "status")

    def __init__(self, send: Send, always: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self.always = always
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self.always]
        await self._send(message)

    async def refuse(self, problem: Problem, request_id: str) -> None:
        """Answer with a problem, if nothing was answered yet."""
        if self.status:
            return
        await self._all(problem.word.status, problem.to_headers(), problem.to_bytes(request_id))

    async def allow(self, methods: list[str]) -> None:
        """Answer what a path takes."""
        await self._all(204 if methods else 404, {"allow": ", ".join(methods)}, b"")

    async def _all(self, status: int, headers: dict[str, str], body: bytes) -> None:
        found: list[tuple[bytes, bytes]] = [
            (name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()
        ]
        if status != 204:
            found.append((b"content-length", str(len(body)).encode()))
        start: dict[str, Any] = {
            "type": "http.response.start",
            "status": status,
            "headers": found,
        }
        await self(start)
        await self._send({"type": "http.response.body", "body": body})


async def _body(receive: Receive, headers: dict[bytes, bytes]) -> bytes:
    """The body of a request.

    Raises:
        Problem: request_too_large, request_timeout, unsupported_media_type.
    """
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > MAX_BYTES:
        raise Problem("request_too_large", headers={"connection": "close"})
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Later
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MAX_BYTES:
                    raise Problem("request_too_large", headers={"connection": "close"})
                more = message.get("more_body", False)
    except TimeoutError:
        raise Problem("request_timeout", headers={"connection": "close"}) from None
    if size:
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if kind not in (b"application/json", b"application/merge-patch+json"):
            raise Problem("unsupported_media_type")
    return b"".join(parts)


def _once(body: bytes) -> Receive:
    given = False

    async def receive() -> Message:
        nonlocal given
        if given:
            return {"type": "http.disconnect"}
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _trace(headers: dict[bytes, bytes]) -> bytes | None:
    """What an answer says of the trace that its request is part of."""
    match = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b"").decode("latin-1"))
    if match is None or not int(match[1], 16) or not int(match[2], 16):
        return None
    return f"00-{match[1]}-{secrets.token_hex(8)}-00".encode()
