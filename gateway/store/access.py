"""Shutting users out: tokens are revoked, sessions are ended, rooms are set."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

from gateway.apps.app import with_revoked
from gateway.apps.settings import MAX_TOKEN_S
from gateway.redis.link import Link
from gateway.security.tokens import Identity, covering_ms
from gateway.store import events
from gateway.store.audit import AuditStore
from gateway.store.durable import DurableWrites
from gateway.store.errors import AppNotFound, TooManyRevoked
from gateway.store.keys import Keys
from gateway.store.region_clock import time_of
from gateway.store.registry import AppStore
from gateway.store.rooms import THE_APP, RoomStore
from gateway.store.scripts import script

REVOKE: Final = script("revoke")
_REVOKE_TOKEN: Final = script("revoke_token")

MAX_REVOKED_TOKENS: Final = 100
"""Single tokens of a user that are remembered as revoked at the same time."""

_MARGIN_MS: Final = 60_000
"""A revocation is remembered for so long after the last token that it voids has ended."""


class AccessStore:
    """Users' tokens and sessions, of the apps that `apps` keeps.

    Each method holds the Redis against the key file first, as those of `AppStore` do.
    """

    def __init__(
        self, link: Link, keys: Keys, apps: AppStore, audit: AuditStore, writes: DurableWrites
    ) -> None:
        self._link = link
        self._keys = keys
        self._apps = apps
        self._audit = audit
        self._writes = writes

    async def revoke(self, app_id: str, user: str, before_ms: int | None = None) -> int:
        """Void the user's tokens issued before `before_ms`, and end the sessions they opened.

        None: all that there are now, also by a clock that is ahead. Returns the time.

        Raises:
            AppNotFound.
        """
        await self._apps.existing(app_id)
        keys = self._keys.user(app_id, user)
        # No token lives longer, so after that there is nothing left to refuse. Not the app's own
        # max_token_s: once that is raised, a token is good that was too long when it was issued.
        # Counted from now: `before_ms` may lie ahead.
        now_ms = await time_of(self._link, self._keys)
        before_ms = covering_ms(now_ms) if before_ms is None else before_ms
        ahead = max(0, before_ms - now_ms)
        await self._writes.run(
            REVOKE,
            (keys.revoked, keys.channel),
            before_ms,
            ahead + MAX_TOKEN_S * 1000 + _MARGIN_MS,
            events.revoked(before_ms),
        )
        await self._audit.note("token revoke", app_id, f"{user} before {before_ms}")
        return before_ms

    async def revoke_token(self, app_id: str, identity: Identity) -> None:
        """Void one token of a user, and end the sessions that go on with it.

        Raises:
            AppNotFound.
            TooManyRevoked: so many of the user's are void, one by one, that have not ended.
        """
        await self._apps.existing(app_id)
        keys = self._keys.user(app_id, identity.user)
        done = await self._writes.run(
            _REVOKE_TOKEN,
            (keys.revoked, keys.channel),
            identity.digest,
            identity.expires_s * 1000,
            await time_of(self._link, self._keys),
            events.token_voided(identity.digest),
            MAX_REVOKED_TOKENS,
            _MARGIN_MS,
        )
        if not done:
            raise TooManyRevoked(MAX_REVOKED_TOKENS)
        await self._audit.note("token revoke", app_id, f"{identity.user} {identity.digest}")

    async def set_room(
        self, app_id: str, room: str, write: str, admins: Sequence[str], *, claim: bool
    ) -> None:
        """Set who may write in a room, as the app itself; with `claim` the room is the app's from
        now on, and no user may set it any more.

        Raises:
            AppNotFound.
        """
        app = await self._apps.existing(app_id)
        now_ms = await time_of(self._link, self._keys)
        rooms = RoomStore(self._link, self._keys)
        await rooms.set(app, room, THE_APP, write, admins, now_ms, claim=claim)
        await self._audit.note("room claim" if claim else "room set", app_id, f"{room} {write}")

    async def revoke_app(self, app_id: str, before_ms: int | None = None) -> int:
        """Void the tokens of all users of an app issued before `before_ms`; otherwise as `revoke`.

        Raises:
            AppNotFound.
        """
        now_ms = await time_of(self._link, self._keys)
        before_ms = covering_ms(now_ms) if before_ms is None else before_ms
        await self._apps.replace(app_id, lambda app: with_revoked(app, before_ms), now_ms)
        await self._audit.note("token revoke", app_id, f"all before {before_ms}")
        return before_ms

    async def revoke_region(self, before_ms: int | None = None) -> int:
        """Void the tokens of all users of every app; otherwise as `revoke`."""
        before_ms = (
            covering_ms(await time_of(self._link, self._keys)) if before_ms is None else before_ms
        )
        for app in await self._apps.all():
            with contextlib.suppress(AppNotFound):  # deleted meanwhile: its tokens are void
                await self.revoke_app(app.id, before_ms)
        return before_ms

    async def kick(self, app_id: str, user: str, device: str | None = None) -> None:
        """End the user's sessions: those of `device`, or all.

        Raises:
            AppNotFound.
        """
        await self._apps.existing(app_id)
        await self._link.publish(self._keys.user(app_id, user).channel, events.kicked(device or ""))
        await self._audit.note("kick", app_id, f"{user} {device or ''}".rstrip())
