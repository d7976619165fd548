"""What the SDK raises.

::

    ClientError
    +-- RequestRefused       the server answered one request with an error
    |   +-- RateLimited      too many requests at once
    |   +-- Unavailable      the server could not do it now
    |   +-- TooLarge         the body is over the limit
    |   +-- Unauthorized     the user's role or token does not allow it
    |   +-- Blocked          the recipient has blocked this user
    |   +-- NotAMember       of the group or the room
    +-- ProtocolError        the server did what was asked, and its answer can't be read
    +-- SendTimeout          no answer in time: the outcome is unknown
    +-- ClientClosed         the client has ended and does not reconnect
    |   +-- WrongRegion      the app lives in another region
    |   +-- TokenRefused     a new token is needed and there is no way to get a better one
    |   +-- UserChanged      the new token is for another app or user than the one before
    |   +-- ConnectFailed    the first connection can't work: certificate, URL, origin or proxy
    +-- CursorFileError      the cursor file can't be used
        +-- CursorFileDamaged   it does not hold a cursor
        +-- CursorFileForeign   it belongs to another app, user or device
        +-- CursorNotSaved      it can't be written; an OSError too

Texts never hold a token, a body or a user id.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from homeport import codes
from homeport.frames import Error


class ClientError(Exception):
    """The root of everything the SDK raises on purpose."""


class RequestRefused(ClientError):
    """The server answered a request with an error.

    The errors that programs branch on have classes of their own; the others are told by ``name``.

    Attributes:
        name: the error's name in SPEC.md section 8.1, like ``not_a_member``; ``unknown_code`` for
            a code of a newer server.
        code: the error's number there.
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
        self.name = error_name(code)
        self.code = code
        self.text = text
        self.retry_after = retry_after
        self.details = details or {}


class RateLimited(RequestRefused):
    """Too many requests at once: ``rate_limited``, ``too_many_connections``.

    The client waits for ``retry_after`` and repeats the request by itself. This error is raised
    when the request's ``timeout`` ends before that; the request has changed nothing.
    """


class Unavailable(RequestRefused):
    """The server could not do it now: ``unavailable``, ``internal``.

    The client repeats the request by itself. When the request's ``timeout`` ends before that
    succeeds, `SendTimeout` is raised, because the outcome is unknown; this error is its
    ``__cause__``.
    """


class TooLarge(RequestRefused):
    """The body is over the limit, which `Connected` states: ``body_too_large``."""


class StorageFull(RequestRefused):
    """The app, or this user as a sender, has stored all that the app's tier allows:
    ``storage_full``.

    ``details["quota"]`` is ``app`` or ``sender``. Where ``details["of"]`` is ``never_connected``,
    only what is for users who have never connected is too much. Room comes with time, as messages
    reach the end of theirs, or with what is recalled or deleted.
    """


class Unauthorized(RequestRefused):
    """The user may not do this.

    Because of the user's role: ``not_allowed``, ``muted``, ``not_yours``, ``room_read_only``,
    ``not_room_creator``. Or because of the token: the codes whose names begin with ``token_``. (A
    token that is refused at connecting ends the client by `TokenRefused`.)
    """


class Blocked(RequestRefused):
    """The recipient has blocked this user, and nothing was stored: ``blocked``."""


class NotAMember(RequestRefused):
    """The user, or the user whom the request is about, is not a member of the group, or is not in
    the room: ``not_a_member``, ``not_in_room``."""


_CLASSES: Final[dict[int, type[RequestRefused]]] = {
    codes.RATE_LIMITED.number: RateLimited,
    codes.TOO_MANY_CONNECTIONS.number: RateLimited,
    codes.UNAVAILABLE.number: Unavailable,
    codes.INTERNAL.number: Unavailable,
    codes.BODY_TOO_LARGE.number: TooLarge,
    codes.STORAGE_FULL.number: StorageFull,
    codes.NOT_ALLOWED.number: Unauthorized,
    codes.MUTED.number: Unauthorized,
    codes.NOT_YOURS.number: Unauthorized,
    codes.ROOM_READ_ONLY.number: Unauthorized,
    codes.NOT_ROOM_CREATOR.number: Unauthorized,
    **{
        each.number: Unauthorized
        for each in codes.ERRORS.values()
        if each.retry is codes.Retry.NEW_TOKEN
    },
    codes.BLOCKED.number: Blocked,
    codes.NOT_A_MEMBER.number: NotAMember,
    codes.NOT_IN_ROOM.number: NotAMember,
}


def refusal_of(error: Error) -> RequestRefused:
    """The exception of an `Error` frame, of the class that its code has."""
    kind = _CLASSES.get(error.code, RequestRefused)
    return kind(error.code, error.text, error.retry_after, error.details)


class ProtocolError(ClientError):
    """The server did what was asked, and its answer is none that this version of the SDK can read.

    Attributes:
        request: what was asked, as SPEC.md names the frame.
        reason: what is wrong with the answer.
    """

    def __init__(self, request: str, reason: str) -> None:
        super().__init__(
            f"{reason}; the request was done, but its answer can't be read: "
            "use releases of the SDK and the gateway that fit together"
        )
        self.request = request
        self.reason = reason


class SendTimeout(ClientError):
    """A send was not answered in time, so nobody here knows whether it was accepted.

    Sending the same message again with ``client_id`` within the server's dedupe window can't double
    it. Its ``__cause__`` is the last `RequestRefused`, if there was one: mostly `Unavailable`.
    """

    def __init__(self, client_id: str) -> None:
        super().__init__(
            "no answer in time: the message may or may not have been accepted; "
            f"to make sure, send it again with client_id={client_id!r}"
        )
        self.client_id = client_id


class CursorFileError(ClientError):
    """The cursor file at ``path`` can't be used."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(f"{path} {text}")
        self.path = path


class CursorFileDamaged(CursorFileError):
    """The file does not hold a cursor: half of one, or something else."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            "does not hold a cursor; "
            "delete it to go on from the position the server keeps for this device",
        )


class CursorFileForeign(CursorFileError):
    """The file keeps the position of another app, user or device; it is left as it is.

    Attributes:
        differs: ``app``, ``user`` or ``device``: the first of them that is another one.
    """

    def __init__(self, path: Path, differs: str) -> None:
        super().__init__(
            path,
            f"keeps the position of another {differs}; "
            "give each app, user and device a cursor file of its own",
        )
        self.differs = differs


class CursorNotSaved(CursorFileError, OSError):
    """The file can't be written: what was acknowledged since it was saved last is not in it.

    Attributes:
        reason: the system's word for it; ``errno`` is its number.
    """

    def __init__(self, path: Path, cause: OSError) -> None:
        why: str = cause.strerror or type(cause).__name__
        super().__init__(path, f"can't be written ({why}), so the cursor is not saved")
        self.errno = cause.errno
        self.reason = why


class ClientClosed(ClientError):
    """The client has ended. A send that was waiting may or may not have been accepted.

    Attributes:
        code: the WebSocket close code, or None when there was none.
        name: the code's name in SPEC.md section 8.2, like ``kicked``; None where it has none.
        reason: why, for people.
    """

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason if code is None else f"{reason} (close code {code})")
        self.reason = reason
        self.code = code
        known = None if code is None else codes.CLOSES.get(code)
        self.name = None if known is None else known.name


class WrongRegion(ClientClosed):
    """The app lives in another region; the SDK does not follow by itself.

    Attributes:
        region: the code of the app's region.
        url: where to connect instead, or None if the operator configured no URL.
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
        error: what is wrong with the token, by its name in SPEC.md section 8.1: ``token_expired``.
    """

    def __init__(self, error: int, text: str, advice: str, code: int | None = None) -> None:
        super().__init__(f"{error_name(error)} ({error}): {text} {advice}", code)
        self.error = error_name(error)


class UserChanged(ClientClosed):
    """A new token is for another app or user than the client began with.

    Nothing was sent or read with that token. What waited for an answer ends with this error.

    Attributes:
        differs: ``app`` or ``user``: the first of them that is another one.
    """

    def __init__(self, differs: str) -> None:
        super().__init__(
            f"the new token is for another {differs} than this client; "
            "make a client for each app and user, and have get_token return only its own tokens"
        )
        self.differs = differs


class ConnectFailed(ClientClosed):
    """The very first connection failed in a way that trying again can't mend."""


def may_repeat(error: Error) -> bool:
    """True when the same request may be repeated later (SPEC.md section 8.1)."""
    known = codes.ERRORS.get(error.code)
    if known is None:
        return error.retry_after is not None
    return known.retry is codes.Retry.LATER


def error_name(number: int) -> str:
    """The name of an error code; ``unknown_code`` for one that this version does not know."""
    known = codes.ERRORS.get(number)
    return known.name if known else "unknown_code"
