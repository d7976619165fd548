"""Why a token lets nobody in."""

from __future__ import annotations

from homeport import codes


class TokenRefused(Exception):
    """The token lets nobody in. `code` says why; the text shows nothing of the token.

    `user` is whom it names where the app did sign it.
    """

    def __init__(self, code: codes.ErrorCode, detail: str = "", user: str | None = None) -> None:
        super().__init__(f"{code.meaning} {detail}".rstrip())
        self.code = code
        self.user = user
