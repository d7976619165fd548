"""What Redis holds of one user, for an operator who asks why messages do not arrive.

Reads only, and nothing that a user wrote: no record of a message is opened, and no status text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from homeport.ids import peer_of

from gateway.apps.app import App
from gateway.redis.link import Link
from gateway.store.blocks import BlockedBy
from gateway.store.endings import NotedEnd, NotedLoss
from gateway.store.events import SESSION_ID_CHARS
from gateway.store.inbox import STALE_MS
from gateway.store.keys import Keys, UserKeys
from gateway.store.presence import GATEWAY_CHARS
from gateway.store.readers import DISPLACED
from gateway.store.region_clock import time_of

MAX_CONVERSATIONS: Final = 50
"""The number of conversations with unread messages that are listed: those unread last."""


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

    `unacknowledged` counts what waits for it within the tier's time; the oldest of that was stored
    at `oldest_ms`. `displaced` says that it made room for another device.
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

    `head` is the last number of the inbox, `kept` how many messages it holds and `cap` how many it
    may, the oldest of `oldest_ms`. `unread` is by conversation as the user calls it; `more` says
    that there are others. `revoked_before_ms` is 0 where nothing was revoked, of the user
    or of the whole app.
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
    names = keys.user(app.id, user)
    youngest = now_ms - app.tier.retention_ms + 1
    _, groups = keys.groups_of(app.id, user)
    (
        alive,
        places,
        fields,
        kept,
        oldest,
        talks,
        blocks,
        blockers,
        revoked,
        count,
        ends,
    ) = await asyncio.gather(
        link.call("ZRANGEBYSCORE", keys.gateways, now_ms, "+inf"),
        link.call("HGETALL", keys.gateway_names),
        link.call("HGETALL", names.meta),
        link.call("XLEN", names.inbox),
        link.call("XRANGE", names.inbox, f"{youngest}-0", "+", "COUNT", 1),
        link.call("ZREVRANGE", names.unread, 0, MAX_CONVERSATIONS),
        link.call("HKEYS", names.blocks),
        link.call("HGETALL", names.blocked_by),
        link.call("GET", names.revoked),
        link.call("HLEN", groups),
        link.call("LRANGE", names.closes, 0, -1),
    )
    places, fields = _pairs(places), _pairs(fields)
    where = {name: places.get(name, b"").decode() for name in alive}
    inbox = _Inbox(link, names.inbox, fields, youngest)
    rows = {
        name.decode(): await inbox.row(name, where, now_ms)
        for name in sorted(fields)
        if name[:2] in (b"d:", b"s:")
    }
    loss = fields.get(b"l")
    blocked = BlockedBy.parse(blockers)
    return UserFacts(
        now_ms=now_ms,
        devices=tuple(row for name, row in rows.items() if name.startswith("d:")),
        looking=tuple(row for name, row in rows.items() if name.startswith("s:")),
        head=int(fields.get(b"q", 0)),
        kept=kept,
        cap=app.tier.inbox_cap,
        oldest_ms=_ms(oldest),
        unread=await _unread(link, names, user, talks[:MAX_CONVERSATIONS], youngest),
        more=len(talks) > MAX_CONVERSATIONS,
        blocks=tuple(sorted(name.decode() for name in blocks if name)),
        blocked_by=tuple(sorted(blocked.users)),
        revoked_before_ms=max(int(revoked or 0), app.revoked_before_ms),
        groups=count,
        ends=tuple(NotedEnd.parse(each.decode()) for each in ends),
        loss=None if loss is None else NotedLoss.parse(loss.decode()),
    )


async def _unread(
    link: Link, names: UserKeys, user: str, talks: Sequence[bytes], youngest: int
) -> dict[str, int]:
    """How many messages are unread, by the other end of each conversation that has any."""
    times = await asyncio.gather(
        *(link.call("LRANGE", names.waiting(talk.decode()), 0, -1) for talk in talks)
    )
    unread = {
        peer_of(user, talk.decode()): sum(int(time) >= youngest for time in each)
        for talk, each in zip(talks, times, strict=True)
    }
    return {peer: number for peer, number in unread.items() if number}


@dataclass(frozen=True, slots=True)
class _Inbox:
    """A user's inbox: the stream `name`, and the `fields` of the hash beside it. `youngest` is the
    oldest time, in milliseconds, that is within the tier's."""

    link: Link
    name: str
    fields: dict[bytes, bytes]
    youngest: int

    async def row(self, name: bytes, where: dict[bytes, str], now_ms: int) -> DeviceFacts:
        """The facts in the field `name`; `where` are the places of the gateways that live."""
        fields = self.fields
        acked, seen, holder, since, *platform = fields[name].decode().split(" ", 4)
        seq = int(acked.partition("-")[2])
        after = max(acked, f"{self.youngest}-0", key=lambda place: int(place.partition("-")[0]))
        waiting = await self.link.call("XRANGE", self.name, f"({after}", "+", "COUNT", 1)
        # Numbers are dense, but where a message's own time to live ended before the tier's.
        first = int(waiting[0][0].partition(b"-")[2]) if waiting else None
        head = int(fields.get(b"q", 0))
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
            acknowledged=seq,
            unacknowledged=0 if first is None else head - first + 1,
            oldest_ms=_ms(waiting),
            away=b"a:" + name[2:] in fields,
            displaced=holder == DISPLACED,
        )


def _pairs(told: list[bytes]) -> dict[bytes, bytes]:
    """A hash, as HGETALL tells it."""
    return dict(zip(told[::2], told[1::2], strict=True))


def _ms(entries: list[Any]) -> int | None:
    """The time of the first of some entries of a stream."""
    return int(entries[0][0].partition(b"-")[0]) if entries else None
