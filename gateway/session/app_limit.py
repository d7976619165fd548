"""How many connections an app may have on all gateways of its region together.

No connect waits for another gateway. Each counts its own, tells as soon as its count has changed by
a share of the limit, and knows of the others what they told last. It asks before it refuses, so
nobody is refused for what has ended meanwhile. How far n gateways may exceed the limit: SPEC.md
section 17.3.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
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
        most = app.tier.connections
        if self._headcount.total(app.id) >= most:
            await asyncio.wait({self._told(app.id)})
            if self._headcount.total(app.id) >= most:
                retry_after = round(random.uniform(*RETRY_S), 3)  # noqa: S311 - jitter
                raise Refused(codes.TOO_MANY_CONNECTIONS, retry_after=retry_after)
        self._headcount.enter(app.id)
        self._changed(app.id, most)

    def leave(self, app: App) -> None:
        """One of `app` has ended."""
        self._headcount.leave(app.id)
        self._changed(app.id, app.tier.connections)

    def _changed(self, app_id: str, most: int) -> None:
        if self._headcount.untold(app_id) * TELL_SHARE >= most:
            self._told(app_id)

    def _told(self, app_id: str) -> asyncio.Future[Any]:
        """Tell, one at a time of an app: whoever comes meanwhile learns the same."""
        call = self._telling.get(app_id)
        if call is None:
            call = self._telling[app_id] = self._tell(app_id)
            call.add_done_callback(lambda _: self._telling.pop(app_id))
        return call
