"""Saying no to a request."""

from __future__ import annotations

from gateway.apps.app import App
from protocol import codes
from protocol.frames import Error


class Refused(Exception):
    """A request that is answered with an `Error` frame.

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

    def frame(self, request_id: int) -> Error:
        """The answer to request `request_id`."""
        return Error(request_id, self.code.number, str(self), self.retry_after, self.details)


def check_kind(kind: str) -> None:
    """A client's own kind of message or signal is none of the server's.

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
