"""Saying no to a request."""

from __future__ import annotations

from typing import Final

import structlog
from homeport import codes
from homeport.limits import MAX_BLOCKS

from gateway.apps.app import App
from gateway.apps.errors import AppError
from gateway.hub.hub import SessionGone
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.security.sealing import SealError
from gateway.store.blocks import TooManyBlocks
from gateway.store.errors import AppNotFound
from gateway.store.presence import TooManySubscriptions
from gateway.store.readers import TokenRevoked, TooManyDevices
from gateway.store.rooms import RoomRefused

_log = structlog.get_logger()


class Refused(Exception):
    """A request that is not done; `code` says why.

    `retry_after` is in seconds; `details` must hold nothing that the asking client may not know.
    """

    def __init__(
        self,
        code: codes.ErrorCode,
        text: str = "",
        retry_after: float | None = None,
        details: dict[str, str] | None = None,
    ) -> None:
        super().__init__(text or code.meaning)
        self.code = code
        self.retry_after = retry_after
        self.details = details


_REFUSALS: Final[dict[type[BaseException], tuple[codes.ErrorCode, str]]] = {
    AppNotFound: (codes.UNKNOWN_APP, ""),
    TokenRevoked: (codes.TOKEN_REVOKED, ""),
    TooManyDevices: (codes.TOO_MANY_DEVICES, ""),
    TooManyBlocks: (
        codes.TOO_MANY_BLOCKS,
        f"This user blocks {MAX_BLOCKS} others already; unblock one.",
    ),
    SessionGone: (codes.NOT_CONNECTED, ""),
    TooManySubscriptions: (codes.TOO_MANY_SUBSCRIPTIONS, ""),
}
_ROOM_REFUSALS: Final = {
    code.name: code for code in (codes.NOT_IN_ROOM, codes.ROOM_READ_ONLY, codes.NOT_ROOM_CREATOR)
}


FAULTS: Final = (OperationFailed, SealError, AppError)
"""What the floors below raise and `refusal` knows."""


def refusal(error: BaseException) -> Refused:
    """The `Refused` of an error of the `FAULTS`; a `Refused` itself is returned as it is.

    No other place says which error has which code. Another error is a bug. What becomes an
    internal error is in the log, as the code promises.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, Unavailable):
        return Refused(codes.UNAVAILABLE, retry_after=error.retry_after)
    if isinstance(error, RoomRefused):
        return Refused(_ROOM_REFUSALS[error.reason])
    if type(error) in _REFUSALS:
        return Refused(*_REFUSALS[type(error)])
    if isinstance(error, FAULTS):
        _log.error("request_failed", error=type(error).__name__, problem=str(error))
        return Refused(codes.INTERNAL, retry_after=5.0)
    _log.error("request_failed", exc_info=error)
    return Refused(codes.INTERNAL)


def check_kind(kind: str) -> None:
    """A principal's own kind of message or signal is none of the server's, at whichever door.

    What has such a kind is read as the server's word, so also an app may not forge it.

    Raises:
        Refused: invalid_field.
    """
    if kind.startswith("homeport."):
        raise Refused(codes.INVALID_FIELD, "A kind that begins with homeport. is the server's.")


def check_body(app: App, body: bytes) -> None:
    """Hold a message's body against the limit of the app's tier.

    Raises:
        Refused: body_too_large.
    """
    if len(body) > app.tier.max_body:
        raise Refused(
            codes.BODY_TOO_LARGE, f"The body is over this app's limit of {app.tier.max_body} bytes."
        )
