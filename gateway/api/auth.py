"""Which app a request is of, and what it may ask for: by an API key, or by a token of the app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from homeport import codes

from gateway.api.problems import Problem
from gateway.apps.api_keys import SCOPES, find, home_of
from gateway.apps.app import App
from gateway.apps.regions import region_of
from gateway.chat.refused import FAULTS, Refused, refusal
from gateway.clock import Clock
from gateway.config import Settings
from gateway.security import tokens
from gateway.security.errors import TokenRefused
from gateway.store.directory import AppDirectory
from gateway.store.errors import AppNotFound

FRESH_S: Final = 0.5
"""How old what is known of an app may be: a key that was deleted opens nothing after that, also
where the word of it was lost."""

_SCHEME: Final = "bearer"


@dataclass(frozen=True, slots=True)
class Caller:
    """An app's back end. `scopes` is what it may ask for."""

    app: App
    scopes: tuple[str, ...]

    def needs(self, scope: str) -> None:
        """Raises:
        Problem: scope_missing.
        """
        if scope not in self.scopes:
            raise Problem("scope_missing", members={"scope": scope})


@dataclass(slots=True)
class Homes:
    """Where the regions are: `wires` and `apis` map a region's code to its URL, where known."""

    region: str
    wires: dict[str, str]
    apis: dict[str, str]

    @classmethod
    def of(cls, settings: Settings) -> Homes:
        """Those that the settings name."""
        return cls(settings.region, settings.directory, settings.api_directory)

    def adopt(self, settings: Settings) -> None:
        """Tell those of `settings` from now on."""
        self.wires, self.apis = settings.directory, settings.api_directory

    def elsewhere(self, region: str) -> Problem:
        """The answer to an app that lives in another region."""
        members = {"region": region}
        if region in self.apis:
            members["url"] = self.apis[region]
        return Problem("wrong_region", members=members)


@dataclass(slots=True)
class Auth:
    """Looks at the credentials of requests."""

    homes: Homes
    directory: AppDirectory
    clock: Clock
    _signatures: tokens.Signatures = field(default_factory=tokens.Signatures)
    _renewed: dict[str, float] = field(default_factory=dict)
    _renewing: dict[str, asyncio.Task[App]] = field(default_factory=dict)

    async def caller(self, authorization: str) -> Caller:
        """The caller that an Authorization header speaks for.

        Raises:
            Problem: a code that begins with token_, key_unknown, unknown_app, wrong_region,
                unavailable.
        """
        scheme, _, secret = authorization.partition(" ")
        secret = secret.strip()
        if scheme.lower() != _SCHEME or not secret:
            raise Problem("token_missing", "Give a key: Authorization: Bearer hpk_…")
        try:
            home = home_of(secret)
            if home is not None:
                app = await self._app(home.app_id)
                key = find(app.api_keys, secret)
                if key is None or home.region != app.region:
                    raise Problem("key_unknown")
                return Caller(app, key.scopes)
            app = await self._app(tokens.app_id_of(secret))
            tokens.verify(secret, app, self.clock.wall(), self._signatures, tokens.Purpose.REST)
        except TokenRefused as error:
            raise Problem(error.code.name, str(error)) from error
        except FAULTS as error:
            raise Problem.of(refusal(error)) from error
        return Caller(app, SCOPES)

    async def _app(self, app_id: str) -> App:
        region = region_of(app_id)
        if region is None:
            raise Problem.of(Refused(codes.UNKNOWN_APP))
        if region.code != self.homes.region:
            raise self.homes.elsewhere(region.code)
        if self.clock.steady() < self._renewed.get(app_id, float("-inf")) + FRESH_S:
            return await self.directory.get(app_id)
        # All who come at this moment wait for one read.
        renewing = self._renewing.get(app_id)
        if renewing is None:
            renewing = asyncio.ensure_future(self.directory.renewed(app_id))
            self._renewing[app_id] = renewing
            renewing.add_done_callback(self._done(app_id, self.clock.steady()))
        return await asyncio.shield(renewing)

    def _done(self, app_id: str, began: float) -> Callable[[asyncio.Task[App]], None]:
        def done(task: asyncio.Task[App]) -> None:
            del self._renewing[app_id]
            if task.cancelled():
                return
            error = task.exception()
            if error is None:
                self._renewed[app_id] = began
            elif isinstance(error, AppNotFound):
                self._renewed.pop(app_id, None)

        return done
