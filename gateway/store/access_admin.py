"""Who is let in no longer: tokens that are revoked, sessions that are ended."""

from __future__ import annotations

from typing import Final

from gateway.apps.app import with_revoked
from gateway.apps.settings import MAX_TOKEN_S
from gateway.security.tokens import covering_ms
from gateway.store import events
from gateway.store.app_admin import AppAdmin
from gateway.store.scripts import script

REVOKE: Final = script("revoke")


class AccessAdmin(AppAdmin):
    """The part of `Admin` that is about users' tokens and sessions."""

    async def revoke(self, app_id: str, user: str, before_ms: int | None = None) -> int:
        """Void the user's tokens issued before `before_ms`, and end the sessions they opened.

        None: all that there are now, also by a clock that is ahead. Returns the time.

        Raises:
            AppNotFound.
        """
        await self._existing(app_id)
        keys = self._keys.user(app_id, user)
        # No token lives longer, so after that there is nothing left to refuse. Not the app's own
        # max_token_s: once that is raised, a token is good that was too long when it was issued.
        # Counted from now: `before_ms` may lie ahead.
        now_ms = await self.now_ms()
        before_ms = covering_ms(now_ms) if before_ms is None else before_ms
        ahead = max(0, before_ms - now_ms)
        await self._write(
            keys.revoked,
            "EVAL",
            REVOKE.text,
            2,
            keys.revoked,
            keys.channel,
            before_ms,
            ahead + (MAX_TOKEN_S + 60) * 1000,
            events.revoked(before_ms),
        )
        await self._note("token revoke", app_id, f"{user} before {before_ms}")
        return before_ms

    async def revoke_app(self, app_id: str, before_ms: int | None = None) -> int:
        """As `revoke`, of all users of an app.

        Raises:
            AppNotFound.
        """
        now_ms = await self.now_ms()
        before_ms = covering_ms(now_ms) if before_ms is None else before_ms
        await self._change(app_id, lambda app: with_revoked(app, before_ms), now_ms)
        await self._note("token revoke", app_id, f"all before {before_ms}")
        return before_ms

    async def revoke_region(self, before_ms: int | None = None) -> int:
        """As `revoke_app`, of every app."""
        before_ms = covering_ms(await self.now_ms()) if before_ms is None else before_ms
        for app in await self.list_apps():
            await self.revoke_app(app.id, before_ms)
        return before_ms

    async def kick(self, app_id: str, user: str, device: str | None = None) -> None:
        """End the user's sessions: those of `device`, or all.

        Raises:
            AppNotFound.
        """
        await self._existing(app_id)
        await self._publish(self._keys.user(app_id, user).channel, events.kicked(device or ""))
        await self._note("kick", app_id, f"{user} {device or ''}".rstrip())
