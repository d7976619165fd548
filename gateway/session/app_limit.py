"""How many connections an app may have on all gateways of its region together.

Each gateway counts its own connections, reports as soon as its count has changed by a share of the
limit, and knows what the others reported last. Most connects therefore wait for nothing. They wait
if the gateway knows nothing of the app yet, or accepts connections faster than it can report. A
gateway asks before it refuses, so nobody is refused because of connections that ended meanwhile.
SPEC.md section 17.3 says how far n gateways may exceed the limit.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from homeport import codes

from gateway.apps.app import App
from gateway.chat.refused import Refused
from gateway.store.headcount import Headcount

TELL_SHARE: Final = 50
"""A gateway tells once its count has changed by the limit divided by this, or by one."""

RETRY_S: Final = (5.0, 15.0)
"""`retry_after` is spread over this, so that refused clients don't come back all at once."""


class AppLimit:
    """The connections of this gateway's apps.

    `tell` tells of one app; `headcount` has learnt of it when the future it returns is done.
    """

    def __init__(self, headcount: Headcount, tell: Callable[[str], asyncio.Future[Any]]) -> None:
        self._headcount = headcount
        self._tell = tell
        self._telling: dict[str, asyncio.Future[Any]] = {}

    async def enter(self, app: App) -> None:
        """Count one more connection of `app`; undo it with `leave`.

        Raises:
            Refused: too_many_connections; it is not counted.
        """
        most, headcount = app.tier.connections, self._headcount
        if not headcount.known(app.id):
            await asyncio.wait({self._told(app)})
        # What is told is soon known to the others; what is not is bounded.
        while self._much_untold(app):
            await asyncio.wait({self._told(app)})
        if headcount.total(app.id) >= most:
            await asyncio.wait({self._told(app)})
            if headcount.total(app.id) >= most:
                retry_after = round(random.uniform(*RETRY_S), 3)  # noqa: S311 - jitter
                raise Refused(codes.TOO_MANY_CONNECTIONS, retry_after=retry_after)
        headcount.enter(app.id)
        self._changed(app)

    def leave(self, app: App) -> None:
        """One of `app` has ended."""
        self._headcount.leave(app.id)
        self._changed(app)

    def _much_untold(self, app: App) -> bool:
        return self._headcount.untold(app.id) * TELL_SHARE >= app.tier.connections

    def _changed(self, app: App) -> None:
        if self._much_untold(app):
            self._told(app)

    def _told(self, app: App) -> asyncio.Future[Any]:
        """Report an app's count; at most one report per app is under way, and callers share it."""
        call = self._telling.get(app.id)
        if call is None:
            call = self._telling[app.id] = self._tell(app.id)
            call.add_done_callback(partial(self._answered, app))
        return call

    def _answered(self, app: App, _: asyncio.Future[Any]) -> None:
        del self._telling[app.id]
        self._changed(app)  # meanwhile
