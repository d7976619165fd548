"""What the routes work on, and the two ways in which they ask: as the app, and as a user of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from gateway.api.auth import Auth
from gateway.api.cursors import Cursors
from gateway.chat.chat import Chat
from gateway.chat.limits import Allowance
from gateway.chat.principal import AppItself, Principals, User
from gateway.clock import Clock


@dataclass(slots=True)
class Services:
    """One for each process of the API. `aclose` it at the end."""

    auth: Auth
    cursors: Cursors
    principals: Principals
    chat: Chat
    clock: Clock
    _apps: dict[str, AppItself] = field(default_factory=dict)
    _held: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def app(self, app_id: str) -> AppItself:
        """The app itself, whose allowance is held from its first request on.

        Raises:
            Refused: unknown_app, unavailable, internal.
        """
        known = self._apps.get(app_id)
        if known is None:
            made = await self._held.enter_async_context(self.principals.app(app_id))
            known = self._apps.setdefault(app_id, made)
        return known

    @asynccontextmanager
    async def user(self, app_id: str, user: str) -> AsyncIterator[User]:
        """A user on behalf of the app, for one request.

        Raises:
            Refused: unknown_app, unavailable, internal.
        """
        await self.app(app_id)  # so that its allowance stays
        async with self.principals.user(app_id, user) as principal:
            yield principal

    async def aclose(self) -> None:
        """Give all allowances back."""
        self._apps.clear()
        await self._held.aclose()


def limit_headers(allowance: Allowance) -> dict[str, str]:
    """What is left to the one who asked: draft-ietf-httpapi-ratelimit-headers-10. The quota `q` is
    a burst, in tokens (SPEC.md section 17.1), and `w` the seconds in which it comes back."""
    policies, states = [], []
    for each in allowance.left():
        policies.append(f'"{each.name}";q={each.burst};w={max(1, each.burst // each.per_s)}')
        states.append(f'"{each.name}";r={each.left};t={each.full_in_s}')
    return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(states)}
