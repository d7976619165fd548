"""How many connections an app may have on all gateways of its region together.

Each gateway counts its own, tells as soon as its count has changed by a share of the limit, and
knows of the others what they told last. So most connects wait for nothing; they do where a gateway
knows nothing of the app yet, and where it lets people in faster than it can tell. It asks before it
refuses, so nobody is refused for what has ended meanwhile. How far n gateways may exceed the limit:
SPEC.md section 17.3.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from gateway.apps.app import App
from gateway.chat.refused import Refused
from gateway.store.headcount import Headcount
from protocol import codes

TELL_SHARE: Final = 50
"""A gateway tells once its count has changed by the limit divided by this, or by one."""

RETRY_S: Final = (5.0, 15.0)
"""`retry_after` is spread over this, so that those who were refused don't come back together."""


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
        """Tell, one at a time of an app: whoever comes meanwhile learns the same."""
        call = self._telling.get(app.id)
        if call is None:
            call = self._telling[app.id] = self._tell(app.id)
            call.add_done_callback(partial(self._answered, app))
        return call

    def _answered(self, app: App, _: asyncio.Future[Any]) -> None:
        del self._telling[app.id]
        self._changed(app)  # meanwhile
