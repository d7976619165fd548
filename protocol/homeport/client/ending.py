"""What the end of a connection means: come back, and when, or give up, and why. Does no I/O."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass

from websockets.exceptions import InvalidMessage, InvalidStatus, NegotiationError

from homeport import codes
from homeport.client.errors import ClientClosed, TokenRefused, WrongRegion, error_name, may_repeat
from homeport.client.proxy import ProxyFailed
from homeport.frames import Error


@dataclass(frozen=True, slots=True)
class Retry:
    """Reconnect, not before ``after`` seconds; with ``new_token``, by another token."""

    code: int | None
    reason: str
    after: float = 0.0
    new_token: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How a connection ended.

    ``refusal`` is the error frame that answered connect, ``fault`` why this side gave up on the
    connection, ``reconnect_in`` what is left of the time that a goaway asked for, in seconds.
    """

    code: int
    reason: str
    refusal: Error | None = None
    fault: str | None = None
    reconnect_in: float = 0.0


def judge(ended: Ended, *, can_renew: bool, token_is_new: bool) -> Retry:
    """Decide what follows.

    `can_renew`: there is a way to get another token. `token_is_new`: the refused token came from it
    for this very connection, so that asking again would only repeat the refusal.

    Raises:
        ClientClosed: it is final (WrongRegion and TokenRefused are kinds of it).
    """
    if ended.refusal is not None:
        return _judge_refusal(ended, ended.refusal, can_renew and not token_is_new)
    if ended.fault is not None:
        return Retry(ended.code, ended.fault, ended.reconnect_in)
    known = codes.CLOSES.get(ended.code)
    reason = ended.reason or (known.meaning if known else "the connection was lost")
    if not codes.may_reconnect(ended.code):
        raise ClientClosed(reason, ended.code)
    if ended.code == codes.SESSION_EXPIRED.number:
        if not can_renew:
            raise TokenRefused(
                codes.TOKEN_EXPIRED.number,
                codes.TOKEN_EXPIRED.meaning,
                "Connect with a new token, or give get_token so that it is renewed in time.",
                ended.code,
            )
        return Retry(ended.code, reason, new_token=True)
    return Retry(ended.code, reason, ended.reconnect_in)


def _judge_refusal(ended: Ended, refusal: Error, another_token: bool) -> Retry:
    text = f"{error_name(refusal.code)} ({refusal.code}): {refusal.text}"
    if refusal.code == codes.WRONG_REGION.number:
        details = refusal.details or {}
        raise WrongRegion(details.get("region", "unknown"), details.get("url"))
    known = codes.ERRORS.get(refusal.code)
    if known is not None and known.retry is codes.Retry.NEW_TOKEN:
        if not another_token:
            advice = "Connect with another token, made by the app's back end."
            raise TokenRefused(refusal.code, refusal.text, advice, ended.code)
        return Retry(ended.code, text, new_token=True)
    if may_repeat(refusal):
        return Retry(ended.code, text, refusal.retry_after or 0.0)
    raise ClientClosed(text, ended.code)


def is_misconfigured(error: Exception) -> bool:
    """True for a failed handshake that speaks of a wrong URL, origin, certificate or proxy.

    Redirects are not followed. HTTP 408 and 429 ask to come again (RFC 9110 section 15.5.9,
    RFC 6585 section 4), and statuses of the 5xx class pass.
    """
    status = None
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
    elif isinstance(error, ProxyFailed):
        status = error.status
    if status is not None:
        return 300 <= status < 500 and status not in (408, 429)
    if isinstance(error, ImportError | ValueError):
        return True  # a proxy's URL, a package that SOCKS needs, a host's name
    return isinstance(error, ssl.SSLCertVerificationError | NegotiationError)


def describe(error: Exception, *, tls: bool, may_use_proxy: bool) -> str:
    """What went wrong with opening a connection, for people.

    `tls`: it was to speak TLS, which the port may not. `may_use_proxy`: it may have gone through a
    proxy, and then that may be what failed.
    """
    port = ""
    if isinstance(error, InvalidMessage | ConnectionResetError | ssl.SSLError):
        if not tls:
            port = "; does this port want TLS? Then write wss:// for ws://"
        elif not isinstance(error, ssl.SSLCertVerificationError):
            port = "; does this port speak TLS? Without it, write ws:// for wss://"
    hint = "; a proxy is set for it, Client(proxy=None) goes without one" if may_use_proxy else ""
    return f"can't connect: {str(error) or type(error).__name__}{port}{hint}"


def retry_after(error: Exception) -> float:
    """How many seconds a refused upgrade asks to wait (HP-2.1-7); 0.0 where it does not say.

    A date in `Retry-After` (RFC 9110 section 10.2.3) is not read: no gateway sends one.
    """
    if not isinstance(error, InvalidStatus) or error.response.status_code not in (429, 503):
        return 0.0
    said = error.response.headers.get_all("Retry-After")
    return float(said[0]) if len(said) == 1 and re.fullmatch(r"[0-9]{1,6}", said[0]) else 0.0
