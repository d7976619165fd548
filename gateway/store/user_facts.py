"""What Redis holds of one user, for an operator who asks why messages do not arrive.

Reads only, and nothing that a user wrote: no record of a message is opened, and no status text.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Self

from homeport.ids import GROUP

from gateway.apps.app import App
from gateway.redis.link import Link
from gateway.store.blocks import BlockedBy
from gateway.store.conversations import ConversationStore
from gateway.store.endings import NotedEnd, NotedLoss
from gateway.store.events import SESSION_ID_CHARS
from gateway.store.inbox import STALE_MS, InboxStore
from gateway.store.keys import Keys
from gateway.store.presence import GATEWAY_CHARS
from gateway.store.readers import DISPLACED
from gateway.store.region_clock import time_of
from gateway.store.rows import RowStore

MAX_CONVERSATIONS: Final = 50
"""The number of conversations with unread messages that are listed: the newest."""

MANY: Final = 10**9
"""More conversations than a user can have."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A connected session. `where` is that of its gateway, "" where that one says nothing any more:
    then it was killed, and `connected` is false."""

    id: str
    gateway: str
    where: str
    since_ms: int
    connected: bool


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device, or an ephemeral session, whose `device` is "".

    `acknowledged` is a number of the inbox. `unacknowledged` counts what waits after it within the
    tier's time; the oldest of that was sent at `oldest_ms`. `displaced` says that it made
    room for another device.
    """

    device: str
    platform: str
    session: SessionFacts | None
    seen_ms: int
    acknowledged: int
    unacknowledged: int
    oldest_ms: int | None
    away: bool
    displaced: bool


@dataclass(frozen=True, slots=True)
class UserFacts:
    """All of it; times are milliseconds since 1970, and `now_ms` is when it was read.

    `head` is the last number of the inbox, `kept` how many references it holds and `cap` how many
    it may; the oldest within the tier's time is of `oldest_ms`. `unread` is by conversation as the
    user calls it, newest first; `more` says that there are others. `revoked_before_ms` is 0
    where nothing was revoked, of the user or of the whole app.
    """

    now_ms: int
    devices: tuple[DeviceFacts, ...]
    looking: tuple[DeviceFacts, ...]
    head: int
    kept: int
    cap: int
    oldest_ms: int | None
    unread: dict[str, int]
    more: bool
    blocks: tuple[str, ...]
    blocked_by: tuple[str, ...]
    revoked_before_ms: int
    groups: int
    ends: tuple[NotedEnd, ...]
    loss: NotedLoss | None

    @property
    def presence(self) -> str:
        """How others see the user: online, away or offline."""
        here = [each for each in self.devices if each.session and each.session.connected]
        if not here:
            return "offline"
        return "away" if all(each.away for each in here) else "online"


async def read_user(link: Link, keys: Keys, app: App, user: str) -> UserFacts:
    """What the region's Redis holds of a user, by Redis' own clock. Changes nothing."""
    now_ms = await time_of(link, keys)
    names, inbox = keys.user(app.id, user), keys.inbox(app.id, user)
    youngest = now_ms - app.tier.retention_ms + 1
    store = InboxStore(link, keys, ConversationStore(link, keys))
    (
        alive,
        places,
        fields,
        waiting,
        (rows, _),
        blocks,
        blockers,
        revoked,
        ends,
    ) = await asyncio.gather(
        link.call("ZRANGEBYSCORE", keys.gateways, now_ms, "+inf"),
        link.call("HGETALL", keys.gateway_names),
        link.call("HGETALL", inbox.meta),
        _Waiting.read(store, app.id, user, youngest),
        RowStore(link, keys).rows(app.id, user, MANY),
        link.call("HKEYS", names.blocks),
        link.call("HGETALL", names.blocked_by),
        link.call("HGET", names.revoked, "before"),
        link.call("LRANGE", names.closes, 0, -1),
    )
    places, fields = _pairs(places), _pairs(fields)
    where = {name: places.get(name, b"").decode() for name in alive}
    devices = {
        name.decode(): await _device(name, fields, waiting, where, now_ms)
        for name in sorted(fields)
        if name[:2] in (b"d:", b"s:")
    }
    unread = {
        # Where some of them are past their time, this is what the user is told without a recount.
        row.peer: row.unread
        for row in rows
        if row.unread and row.time_ms >= youngest
    }
    loss = fields.get(b"l")
    blocked = BlockedBy.parse(blockers)
    return UserFacts(
        now_ms=now_ms,
        devices=tuple(each for name, each in devices.items() if name.startswith("d:")),
        looking=tuple(each for name, each in devices.items() if name.startswith("s:")),
        head=waiting.top,
        kept=waiting.kept,
        cap=app.tier.inbox_cap,
        oldest_ms=(await waiting.after(0))[1],
        unread=dict(list(unread.items())[:MAX_CONVERSATIONS]),
        more=len(unread) > MAX_CONVERSATIONS,
        blocks=tuple(sorted(name.decode() for name in blocks if name)),
        blocked_by=tuple(sorted(blocked.users)),
        revoked_before_ms=max(int(revoked or 0), app.revoked_before_ms),
        groups=sum(row.peer.startswith(GROUP) and row.until == 0 for row in rows),
        ends=tuple(NotedEnd.parse(each.decode()) for each in ends),
        loss=None if loss is None else NotedLoss.parse(loss.decode()),
    )


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A user's inbox. `top` is its last number, `kept` how many references it holds, `young` the
    number of the first that is within the tier's time, `top` + 1 where none is."""

    store: InboxStore
    app_id: str
    user: str
    top: int
    kept: int
    young: int

    @classmethod
    async def read(cls, store: InboxStore, app_id: str, user: str, youngest: int) -> Self:
        page = await store.page(app_id, user, 0)
        kept = page.top - page.here
        while page.references:
            for ref in page.references:
                if ref.time_ms >= youngest:
                    return cls(store, app_id, user, page.top, kept, ref.number)
            page = await store.page(app_id, user, page.references[-1].number)
        return cls(store, app_id, user, page.top, kept, page.top + 1)

    async def after(self, number: int) -> tuple[int, int | None]:
        """How many wait after `number`, and the time of the first of them."""
        first = max(number + 1, self.young)
        page = await self.store.page(self.app_id, self.user, first - 1, 1)
        if not page.references:
            return 0, None
        ref = page.references[0]
        return page.top - ref.number + 1, ref.time_ms


async def _device(
    name: bytes,
    fields: dict[bytes, bytes],
    waiting: _Waiting,
    where: dict[bytes, str],
    now_ms: int,
) -> DeviceFacts:
    """The facts in the field `name`; `where` are the places of the gateways that live."""
    acked, seen, holder, since, *platform = fields[name].decode().split(" ", 4)
    unacknowledged, oldest_ms = await waiting.after(int(acked))
    session = None
    if len(holder) == SESSION_ID_CHARS:
        gateway = holder[-GATEWAY_CHARS:]
        lives = gateway.encode() in where
        session = SessionFacts(
            id=holder,
            gateway=gateway,
            where=where.get(gateway.encode(), ""),
            since_ms=int(since),
            connected=lives and int(seen) > now_ms - STALE_MS,
        )
    return DeviceFacts(
        device=name[2:].decode() if name.startswith(b"d:") else "",
        platform="".join(platform),
        session=session,
        seen_ms=int(seen),
        acknowledged=int(acked),
        unacknowledged=unacknowledged,
        oldest_ms=oldest_ms,
        away=b"a:" + name[2:] in fields,
        displaced=holder == DISPLACED,
    )


def _pairs(told: list[bytes]) -> dict[bytes, bytes]:
    """A hash, as HGETALL tells it."""
    return dict(zip(told[::2], told[1::2], strict=True))
