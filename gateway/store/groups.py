"""Groups: their members, and how these change.

A change swaps one version of a group's state for the next, and in the same step puts its notice
into a list beside it. A gateway that reads the group therefore sees notices that were not delivered
yet, and delivers them (`gateway.store.group_notices`) before anything else goes to the members.

Times and versions are integers; a group's first version is the time it was made, in ms, so that
they grow even if a group is made again after it was deleted.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import structlog
from homeport.ids import GROUP
from homeport.limits import DEDUPE_WINDOW_MS

from gateway.apps.app import App
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.redis.link import Link
from gateway.store.group_notices import News, NoticeStore
from gateway.store.group_state import (
    NO_MEMBERS,
    Change,
    Group,
    Notice,
    Summary,
    fields_of,
    member_of,
)
from gateway.store.inbox import InboxStore
from gateway.store.keys import Keys
from gateway.store.scripts import script

_READ: Final = script("group_read")
_CHANGE: Final = script("group_change")
_SIGNAL: Final = script("group_signal")

CACHED_MEMBERS: Final = 100_000
"""Members of all groups kept in memory, about 1 KiB each."""

TAKEOVER_MS: Final = 15_000
"""After which the sweeper delivers a notice that its own gateway did not."""

_log = structlog.get_logger()


class _Watch:
    """One group as this process knows it."""

    __slots__ = ("group", "issued", "reading", "telling", "waiting")

    def __init__(self) -> None:
        self.group: Group | None = None
        self.reading = False
        self.waiting: list[asyncio.Future[Group | None]] = []
        self.issued = 0
        """Up to which version the notices are on their way, or delivered."""
        self.telling: asyncio.Task[bool] | None = None

    @property
    def idle(self) -> bool:
        return not self.reading and (self.telling is None or self.telling.done())


class GroupStore:
    """The groups of a region. Methods raise, or put into their future, `OperationFailed`s."""

    def __init__(
        self, link: Link, keys: Keys, inboxes: InboxStore, clock_ms: Callable[[], int]
    ) -> None:
        self._link = link
        self._keys = keys
        self._inboxes = inboxes
        self._clock_ms = clock_ms
        self._notices = NoticeStore(link, keys, inboxes, clock_ms)
        self._watches: OrderedDict[tuple[str, str], _Watch] = OrderedDict()
        self._members = 0

    # -- reading ---------------------------------------------------------------------------------

    def current(self, app: App, group_id: str) -> asyncio.Future[Group | None]:
        """The group as it is at some time after this call; None if there is none.

        Redis is asked for the version each time; the rest comes from memory if the version is
        unchanged. Per group, one question is in flight; calls that come meanwhile share the next
        one. Futures are done in the order of the calls, after undelivered notices have left for the
        members' inboxes.
        """
        future: asyncio.Future[Group | None] = asyncio.get_running_loop().create_future()
        watch = self._watches.get((app.id, group_id))
        if watch is None:
            watch = self._watches[app.id, group_id] = _Watch()
        self._watches.move_to_end((app.id, group_id))
        watch.waiting.append(future)
        if not watch.reading:
            self._read(app, group_id, watch)
        return future

    async def settled(self, app: App, group_id: str) -> Group | None:
        """The present group, once the notices of all changes up to it are in the members' inboxes.

        Raises:
            Unavailable: Redis is away, or a notice could not be delivered.
        """
        group = await self.current(app, group_id)
        watch = self._watches.get((app.id, group_id))
        if (
            watch is not None
            and watch.telling is not None
            and not await asyncio.shield(watch.telling)
        ):
            raise Unavailable("notice_not_delivered")
        return group

    def _read(self, app: App, group_id: str, watch: _Watch) -> None:
        watch.reading = True
        waiting, watch.waiting = watch.waiting, []
        keys = self._keys.group(app.id, group_id)
        known = watch.group.version if watch.group is not None else 0
        call = self._link.run(_READ, (keys.state, keys.pending), known)
        call.add_done_callback(partial(self._was_read, app, group_id, watch, waiting))

    def _was_read(
        self,
        app: App,
        group_id: str,
        watch: _Watch,
        waiting: list[asyncio.Future[Group | None]],
        call: asyncio.Future[Any],
    ) -> None:
        watch.reading = False
        error: Exception | None = None
        try:
            version, state, pending = call.result()
            if state or version == b"0":
                self._keep(app.id, watch, self._parse(app.id, group_id, int(version), state))
            self._tell(app, group_id, watch, pending)
        except Exception as reason:  # noqa: BLE001 - whoever waits for the group gets it
            error = reason
        for future in waiting:
            if future.done():  # its caller was cancelled
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(watch.group)
        if watch.waiting:
            self._read(app, group_id, watch)
        elif watch.group is None and watch.idle:
            self._watches.pop((app.id, group_id), None)

    def _parse(self, app_id: str, group_id: str, version: int, raw: list[bytes]) -> Group | None:
        if version == 0:
            return None
        state = dict(zip(raw[::2], raw[1::2], strict=True))
        members = {
            name[2:].decode(): member_of(value)
            for name, value in state.items()
            if name.startswith(b"u:")
        }
        return Group(
            group_id,
            version,
            state.get(b"n", b""),
            state.get(b"q") == b"1",
            members,
            state.get(b"gone", b"").decode(),
            self._inboxes.audience(app_id, members, GROUP + group_id),
        )

    def _keep(self, app_id: str, watch: _Watch, group: Group | None) -> None:
        self._members += _size(group) - _size(watch.group)
        watch.group = group
        if self._members <= CACHED_MEMBERS:
            return
        for key, other in list(self._watches.items()):  # the longest unused first
            if self._members <= CACHED_MEMBERS:
                return
            if other.idle and other is not watch:
                self._members -= _size(other.group)
                del self._watches[key]

    # -- changing --------------------------------------------------------------------------------

    async def change(
        self,
        app: App,
        group_id: str,
        before: Group | None,
        change: Change,
        notice: Notice,
    ) -> bool:
        """Make `before` into the version of `notice` by `change`; False if the group is no longer
        as `before` was.

        Deleting a group deletes its log. The notice is for all members, including those whom the
        change adds or removes. `settled` delivers it.
        """
        keys = self._keys.group(app.id, group_id)
        log = self._keys.log(app.id, GROUP + group_id)
        done = await self._link.run(
            _CHANGE,
            (keys.state, keys.pending, keys.due, log.log, log.meta),
            before.version if before is not None else 0,
            notice.version,
            News.of(before, change, notice).packed(),
            self._clock_ms() + TAKEOVER_MS,
            keys.member,
            DEDUPE_WINDOW_MS if change.deleted_by is not None else "",
            log.member,
            *fields_of(change),
            durable=True,
        )
        return bool(done)

    def _tell(self, app: App, group_id: str, watch: _Watch, pending: Iterable[bytes]) -> None:
        """Send off the notices that are not on their way yet, in their order."""
        calls: list[asyncio.Future[Any]] = []
        for raw in pending:
            news = News.unpack(raw)
            if news.version <= watch.issued:
                continue
            watch.issued = news.version
            calls += self._notices.deliver(app, group_id, news)
        if not calls:
            if watch.telling is not None and watch.telling.done():
                watch.telling = None  # nothing is owed, whoever delivered it
        else:
            # One that failed before was sent again just now, with what came after it.
            earlier = watch.telling if watch.telling and not watch.telling.done() else None
            watch.telling = asyncio.create_task(
                self._told(app.id, group_id, watch, calls, watch.issued, earlier)
            )

    async def _told(
        self,
        app_id: str,
        group_id: str,
        watch: _Watch,
        calls: list[asyncio.Future[Any]],
        version: int,
        earlier: asyncio.Task[bool] | None,
    ) -> bool:
        """Take notices off the list once they are stored for all. False: they stay on it."""
        results = await asyncio.gather(*calls, return_exceptions=True)
        try:
            for result in results:
                if isinstance(result, BaseException):
                    raise result  # noqa: TRY301
            if earlier is not None and not await earlier:
                watch.issued = 0
                return False
            await self._notices.done(app_id, group_id, version)
        except Exception as error:  # noqa: BLE001 - whatever it is, the notices are still owed
            watch.issued = 0  # whoever reads next sends them again, and inboxes drop the second
            _log.warning(
                "group_notice_put_off",
                reason=type(error).__name__,
                exc_info=None if isinstance(error, OperationFailed) else error,
            )
            return False
        return True

    # -- telling without storing -----------------------------------------------------------------

    async def signal(self, group: Group, event: bytes) -> None:
        """Tell the event to whichever members are connected now; one call a bucket."""
        calls = (
            self._link.run(_SIGNAL, (*part.channels, *part.fences), group.version, event)
            for part in group.audience
        )
        await asyncio.gather(*calls)

    # -- a user's groups -------------------------------------------------------------------------

    async def of_user(
        self, app_id: str, user: str, after: str, count: int
    ) -> tuple[list[Summary], str | None]:
        """Up to `count` of the user's groups that follow the id `after`, and where more begin."""
        _, groups = self._keys.groups_of(app_id, user)
        found = sorted(raw.decode() for raw in await self._link.call("HKEYS", groups))
        ids = [group_id for group_id in found if group_id > after]
        page = ids[:count]
        calls: list[asyncio.Future[Any]] = []
        for group_id in page:
            state = self._keys.group(app_id, group_id).state
            calls.append(self._link.call("HMGET", state, "v", "n", "q", f"u:{user}"))
            calls.append(self._link.call("HLEN", state))
        raw = await asyncio.gather(*calls)
        summaries = []
        for group_id, known, fields in zip(page, raw[::2], raw[1::2], strict=True):
            version, name, muted, me = known
            if me is not None:  # else a change is on its way
                summaries.append(
                    Summary(
                        group_id,
                        int(version),
                        name,
                        muted == b"1",
                        member_of(me).role,
                        fields - NO_MEMBERS,
                    )
                )
        return summaries, page[-1] if len(ids) > count else None

    # -- the sweeper's ---------------------------------------------------------------------------

    async def look_after(self, app: App, group_id: str) -> None:
        """Deliver what the gateway that changed the group could not, and note to look again."""
        await self.settled(app, group_id)
        await self._notices.done(app.id, group_id, 0)

    async def purge(self, app_id: str, group_id: str) -> None:
        """Remove a group whose app is gone."""
        keys = self._keys.group(app_id, group_id)
        names: list[bytes] = await self._link.call("HKEYS", keys.state)
        users = [name[2:].decode() for name in names if name.startswith(b"u:")]
        await asyncio.gather(
            *(self._link.call("DEL", self._keys.groups_of(app_id, user)[1]) for user in users)
        )
        await self._link.call("DEL", keys.state, keys.pending)
        await self._link.call("ZREM", keys.due, keys.member)


def _size(group: Group | None) -> int:
    return len(group.members) if group is not None else 0
