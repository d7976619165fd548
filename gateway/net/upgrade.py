"""The opening handshake of a WebSocket connection (RFC 6455 section 4): who is let in, and how."""

from __future__ import annotations

import http
import logging
from dataclasses import dataclass
from math import ceil
from typing import Final

import structlog
from homeport.limits import MAX_FRAME_BYTES, PATH, SUBPROTOCOL
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from gateway.net import forwarded
from gateway.net.admission import TooMany, Visit
from gateway.net.forwarded import BadForwarded
from gateway.net.origins import Origins
from gateway.session.counts import BAD_UPGRADE, LATE_UPGRADE, Counts

_log: Final = structlog.get_logger()
_quiet = logging.getLogger("homeport.websockets")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False
_quiet.setLevel(logging.CRITICAL)
"""websockets logs each opening and closing, and at DEBUG whole messages; our own log has what
matters, without the messages."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A handshake was accepted. `bearer` is the token of its Authorization header, if any."""

    bearer: str | None


class _Declined(Exception):
    """The answer to a handshake is `status`, with `text`, and a Retry-After where one is given."""

    def __init__(
        self, status: http.HTTPStatus, text: str, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.retry_after = retry_after


class Upgrades:
    """Answers the opening handshakes of a listener. `origins` are those of pages that may connect;
    handshakes that fail are counted in `counts`."""

    def __init__(self, origins: Origins, counts: Counts) -> None:
        self._origins = origins
        self._refused = counts.refused

    def peer(self) -> ServerProtocol:
        """The server's side of a new connection, which does no I/O."""
        return ServerProtocol(
            origins=self._origins.list,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            extensions=None,
            max_size=MAX_FRAME_BYTES,
            logger=_quiet,
        )

    def too_large(self) -> None:
        """A client sent too much before its handshake was over."""
        _log.info("upgrade_too_large")
        self._refused[BAD_UPGRADE] += 1

    def too_late(self) -> None:
        """A client did not finish its handshake in time."""
        self._refused[LATE_UPGRADE] += 1

    def answer(self, peer: ServerProtocol, request: Request, visit: Visit) -> Accepted | None:
        """Have `peer` answer `request`, which came with `visit`; None: it was declined."""
        try:
            authorization = _authorization(request, visit)
        except _Declined as declined:
            self._decline(peer, declined)
            return None
        response = peer.accept(request)
        peer.send_response(response)
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            _log.info("upgrade_refused", status=response.status_code)
            self._refused[BAD_UPGRADE] += 1
            return None
        scheme, _, token = authorization.partition(" ")
        # For as long as the connection lives, websockets' parser keeps the request: 2.5 KiB of it.
        request.headers.clear()
        return Accepted(token.strip() if scheme.lower() == "bearer" else None)

    def _decline(self, peer: ServerProtocol, declined: _Declined) -> None:
        _log.info("upgrade_refused", status=declined.status.value)
        response = peer.reject(declined.status, declined.text)
        if declined.retry_after is None:
            self._refused[BAD_UPGRADE] += 1
        else:  # counted by who refused it
            after = str(ceil(declined.retry_after))  # RFC 9110 section 10.2.3
            response.headers["Retry-After"] = after
        peer.send_response(response)


def _authorization(request: Request, visit: Visit) -> str:
    """The Authorization header of a request for the right place, from a client that may come in.

    Raises:
        _Declined: something is wrong with it.
    """
    path, mark, _ = request.path.partition("?")
    if path != PATH:
        raise _Declined(http.HTTPStatus.NOT_FOUND, f"Homeport is at {PATH}.\n")
    if mark:
        raise _Declined(
            http.HTTPStatus.BAD_REQUEST,
            "No query string: a token in a URL ends up in logs. "
            "Send it in the connect frame or in the Authorization header.\n",
        )
    _identify(request, visit)
    values = request.headers.get_all("Authorization")
    if len(values) > 1:
        raise _Declined(http.HTTPStatus.BAD_REQUEST, "Send one Authorization header.\n")
    return "".join(values)


def _identify(request: Request, visit: Visit) -> None:
    """Let the client in by the address that a proxy tells, where one does; or decline."""
    header = visit.header
    if header is None:
        return
    values = request.headers.get_all(header)
    try:
        ip = forwarded.client(header, values, visit.trusted)
        if ip is not None:
            visit.identify(ip)
    except BadForwarded as error:
        raise _Declined(http.HTTPStatus.BAD_REQUEST, f"{error}.\n") from error
    except TooMany as error:
        raise _Declined(
            http.HTTPStatus.TOO_MANY_REQUESTS,
            "Too many connections from one address.\n",
            error.retry_after,
        ) from error
