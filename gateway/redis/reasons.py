"""Why Redis is not there, in words that an operator can act on and that hold no secret."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterable
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.redis.errors import OperationFailed

PASSING: Final = {
    "LOADING": "Redis is loading the dataset in memory",
    "BUSY": "Redis is busy running a script",
    "OOM": "command not allowed when used memory > 'maxmemory'",
    "MISCONF": "Redis can't persist to disk, and is configured to take no writes then",
    "READONLY": "You can't write against a read only replica",
    "MASTERDOWN": "Link with MASTER is down",
    "CLUSTERDOWN": "The cluster is down",
    "TRYAGAIN": "The slot is on its way to another node",
    "NOREPLICAS": "Not enough good replicas to write",
    "NOSCRIPT": "No matching script",
}
"""How error replies begin that end by themselves, or with the next connection, and what Redis means
by each. The replies themselves may come from a script, and quote its keys."""

SAY_AGAIN_S: Final = 60.0
_LONGEST: Final = 160
"""Characters of a server's reply that are shown: more is no reason, but help."""


class Sayings:
    """Texts that were logged lately: each is logged once in `SAY_AGAIN_S`, not at each attempt."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def is_new(self, text: str, now: float) -> bool:
        """True if `text` should be logged at `now`, in monotonic seconds."""
        self._said = {each: at for each, at in self._said.items() if now - at < SAY_AGAIN_S}
        if text in self._said or len(self._said) >= _MOST:
            return False
        self._said[text] = now
        return True

    def forget(self) -> None:
        """It is over: the next time everything is new."""
        self._said.clear()


_MOST: Final = 20
"""Different texts in that time."""


def reason_of(error: BaseException, *, tls: bool, secrets: Iterable[str] = ()) -> str:
    """Why a connection to Redis failed.

    `tls` says whether it was to speak TLS, and `secrets` are cut out, in case a server echoes them.
    """
    return _without(secrets, _reason(error, tls))


def is_known(error: BaseException) -> bool:
    """True where the reason says all there is to know; else a traceback helps."""
    expected = RedisError | OSError | TimeoutError | OperationFailed
    return isinstance(error, expected) or _is_reset(error)


def is_refusal(error: BaseException) -> bool:
    """True where trying again is of no use: a wrong password, a missing right, protected mode."""
    return any(
        isinstance(each, AuthenticationError | NoPermissionError)
        or (type(each) is ResponseError and _code(each) not in PASSING)
        for each in _chain(error)
    )


def _code(error: ResponseError) -> str:
    """The first word of the reply, which redis-py takes off where it knows the word."""
    return str(error.status_code or str(error).split(" ", 1)[0])


def words_of(reply: str) -> str:
    """The first words of a server's error reply: one line, and without the client's
    arguments, which a server repeats after a command that it does not know."""
    line = re.split(r"[\r\n]|,? ?with args beginning with", reply, maxsplit=1)[0]
    line = re.sub(r"[^ -~]", "?", line)
    sentence = re.split(r"(?<=[a-z)]{3})\. ", line, maxsplit=1)[0].rstrip(". ")
    return sentence if len(sentence) <= _LONGEST else sentence[:_LONGEST] + "…"


def _reason(error: BaseException, tls: bool) -> str:
    for each in _chain(error):
        found = _of_redis(each, tls) if isinstance(each, RedisError) else _of_system(each, tls)
        if found:
            return found
    # Not its text: that of an error nobody expected may hold anything.
    return type(error).__name__


def _of_redis(error: RedisError, tls: bool) -> str:
    """What redis-py says; empty where another error of the chain may say more."""
    if isinstance(error, InvalidResponse):
        return "what answers there is no Redis"
    if error.status_code:  # a reply, whose code redis-py has taken off
        return words_of(f"{error.status_code} {error}")
    if isinstance(error, ResponseError):
        return words_of(str(error))
    if isinstance(error, RedisTimeoutError):
        return "no answer in time" + _other_port(tls)
    if isinstance(error, RedisConnectionError) and "closed" in str(error).lower():
        return "the server closed the connection" + _other_port(tls)
    return ""


def _of_system(error: BaseException, tls: bool) -> str:
    """The same of what the operating system and OpenSSL say."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        no_tls = error.reason in _NO_TLS
        return f"TLS failed: {error.reason or error.strerror or 'no reason given'}" + (
            _other_port(tls) if no_tls else ""
        )
    if isinstance(error, socket.gaierror):
        return f"the host is not known: {error.strerror}"
    if isinstance(error, TimeoutError):
        return "no answer in time" + _other_port(tls)
    if _is_reset(error):
        return os.strerror(errno.ECONNRESET) + _other_port(tls)
    if isinstance(error, OSError):
        numbers = [error.errno] if error.errno else _numbers(error)
        text = ", ".join(dict.fromkeys(os.strerror(number) for number in numbers))
        text = text or str(error.strerror or "")
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            return text + _other_port(tls)
        return f"{text}: {error.filename}" if text and error.filename else text
    return ""


_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF"})
"""What OpenSSL calls bytes that are no TLS."""


def _is_reset(error: BaseException) -> bool:
    """What uvloop raises where a connection is reset before something is written to it."""
    return isinstance(error, RuntimeError) and "the handler is closed" in str(error)


def _other_port(tls: bool) -> str:
    if tls:
        return "; does this port speak TLS? Without it, write redis:// for rediss://"
    return "; does this port want TLS? Then write rediss:// for redis://"


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    """The error, and what led to it, innermost first: redis-py wraps what the system says."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return reversed(found)


def _numbers(error: OSError) -> list[int]:
    """asyncio joins the errors of several addresses into a text."""
    return [int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))]


def _without(secrets: Iterable[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "…")
    return text
