"""From a token to an app and a user."""

from __future__ import annotations

from dataclasses import dataclass, field

from homeport import codes

from gateway.apps.app import App
from gateway.apps.errors import AppError
from gateway.apps.regions import region_of
from gateway.chat.refused import Refused, refusal
from gateway.config import Settings
from gateway.redis.errors import OperationFailed
from gateway.security import tokens
from gateway.security.errors import TokenRefused
from gateway.security.sealing import SealError
from gateway.store.directory import AppDirectory


class BadToken(Refused):
    """A token lets nobody in. `app_id` is the app that it claims to be of, and is there; `user` is
    whom it names, where the app did sign it."""

    def __init__(self, error: TokenRefused, app_id: str | None) -> None:
        super().__init__(error.code, str(error))
        self.app_id = app_id
        self.user = error.user


@dataclass(slots=True)
class Handshake:
    """Checks tokens for one gateway. `homes` maps a region's code to its URL, where known."""

    region: str
    homes: dict[str, str]
    directory: AppDirectory
    signatures: tokens.Signatures = field(default_factory=tokens.Signatures)

    def adopt(self, settings: Settings) -> None:
        """Tell the `homes` of `settings` from now on."""
        self.homes = settings.directory

    async def authenticate(self, token: str | None, now_s: float) -> tuple[App, tokens.Identity]:
        """The app and the user that a token speaks for. `now_s` is seconds since 1970.

        Raises:
            Refused: with the code that says what is wrong with the token, or `wrong_region`,
                `unknown_app`, `unavailable`.
        """
        if token is None:
            raise Refused(codes.TOKEN_MISSING)
        app: App | None = None
        try:
            app_id = tokens.app_id_of(token)
            home = region_of(app_id)
            if home is None:
                raise Refused(codes.UNKNOWN_APP)
            if home.code != self.region:
                raise self._elsewhere(home.code)
            app = await self.directory.get(app_id)
            return app, tokens.verify(token, app, now_s, self.signatures)
        except TokenRefused as error:
            raise BadToken(error, app.id if app else None) from error
        except (OperationFailed, SealError, AppError) as error:
            raise refusal(error) from error

    def renew(self, token: str, app: App, old: tokens.Identity, now_s: float) -> tokens.Identity:
        """What `token` changes the session of `old`, a user of `app`, to.

        Raises:
            Refused: with the code that says what is wrong with the token, or `token_other_user`,
                `token_older`.
        """
        try:
            # Before the signature, which another app's token can't have.
            same_app = tokens.app_id_of(token) == app.id
            new = tokens.verify(token, app, now_s, self.signatures) if same_app else None
        except TokenRefused as error:
            raise Refused(error.code, str(error)) from error
        if new is None or new.user != old.user:
            raise Refused(codes.TOKEN_OTHER_USER)
        if new.issued_s < old.issued_s:
            # It may have been revoked before this session began.
            raise Refused(codes.TOKEN_OLDER)
        return new

    def _elsewhere(self, home: str) -> Refused:
        details = {"region": home}
        if home in self.homes:
            details["url"] = self.homes[home]
        return Refused(codes.WRONG_REGION, details=details)


def close_code(refused: Refused) -> codes.CloseCode:
    """How a connection ends whose connect was refused."""
    if refused.code is codes.WRONG_REGION:
        return codes.HOME_ELSEWHERE
    if refused.code is codes.UNAVAILABLE:
        return codes.STORE_UNAVAILABLE
    if refused.code is codes.INTERNAL:
        return codes.INTERNAL_ERROR
    if refused.code in (codes.RATE_LIMITED, codes.TOO_MANY_CONNECTIONS):
        return codes.TRY_LATER
    return codes.UNAUTHORIZED
