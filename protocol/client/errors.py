"""What the SDK raises.

::

    ClientError
    +-- RequestRefused       the server answered one request with an error
    +-- SendTimeout          no answer in time: the outcome is unknown
    +-- CursorFileDamaged    the cursor file can't be read as a cursor
    +-- ClientClosed         the client has ended and does not reconnect
        +-- WrongRegion      the app lives in another region
        +-- TokenRefused     a new token is needed and there is no way to get a better one
        +-- ConnectFailed    the first connection can't work: certificate, URL or origin

Texts never hold a token, a body or a user id.
"""

from __future__ import annotations

from pathlib import Path

from protocol import codes
from protocol.frames import Error


class ClientError(Exception):
    """The root of everything the SDK raises on purpose."""


class RequestRefused(ClientError):
    """The server answered a request with an error.

    Attributes:
        code: the number from `protocol.codes.ERRORS`; a newer server may send one not listed there.
        text: the server's explanation.
        retry_after: seconds after which the same request may work, or None.
        details: more about it, by name.
    """

    def __init__(
        self,
        code: int,
        text: str,
        retry_after: float | None = None,
        details: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{error_name(code)} ({code}): {text}")
        self.code = code
        self.text = text
        self.retry_after = retry_after
        self.details = details or {}

    @classmethod
    def from_frame(cls, frame: Error) -> RequestRefused:
        """The exception of an `Error` frame."""
        return cls(frame.code, frame.text, frame.retry_after, frame.details)


class SendTimeout(ClientError):
    """A send was not answered in time, so nobody here knows whether it was accepted.

    Sending the same message again with ``client_id`` within the server's dedupe window can't double
    it. Its ``__cause__`` is the last `RequestRefused`, if there was one.
    """

    def __init__(self, client_id: str) -> None:
        super().__init__(
            "no answer in time: the message may or may not have been accepted; "
            f"to make sure, send it again with client_id={client_id!r}"
        )
        self.client_id = client_id


class CursorFileDamaged(ClientError):
    """The file at ``path`` does not hold a cursor."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} does not hold a cursor (one line: epoch, ms, seq); "
            "delete it to go on from the position the server keeps for this device"
        )
        self.path = path


class ClientClosed(ClientError):
    """The client has ended. A send that was waiting may or may not have been accepted.

    Attributes:
        code: the WebSocket close code (`protocol.codes.CLOSES`), or None when there was none.
        reason: why, for people.
    """

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason if code is None else f"{reason} (close code {code})")
        self.reason = reason
        self.code = code


class WrongRegion(ClientClosed):
    """The app lives in another region; the SDK does not follow by itself.

    Attributes:
        region: the code of the app's region.
        url: where to connect instead, or None when the server was not told.
    """

    def __init__(self, region: str, url: str | None) -> None:
        where = f"connect to {url}" if url else "connect to that region's gateway"
        super().__init__(
            f"the app lives in region {region!r}: {where}", codes.HOME_ELSEWHERE.number
        )
        self.region = region
        self.url = url


class TokenRefused(ClientClosed):
    """The server wants another token, and there is none.

    Attributes:
        error: the number from `protocol.codes.ERRORS` that says what is wrong with the token.
    """

    def __init__(self, error: int, text: str, advice: str, code: int | None = None) -> None:
        super().__init__(f"{error_name(error)} ({error}): {text} {advice}", code)
        self.error = error


class ConnectFailed(ClientClosed):
    """The very first connection failed in a way that trying again can't mend."""


def may_repeat(error: Error) -> bool:
    """True when the same request may be repeated later (SPEC.md section 8.1)."""
    known = codes.ERRORS.get(error.code)
    if known is None:
        return error.retry_after is not None
    return known.retry is codes.Retry.LATER


def error_name(number: int) -> str:
    """The name of an error code, also of one that this version does not know."""
    known = codes.ERRORS.get(number)
    return known.name if known else "error"
