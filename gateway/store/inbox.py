"""A user's inbox: what is delivered to it, and what each device has read.

An inbox is a Redis stream whose entry ids are ``<ms>-<seq>``. ``ms`` never goes back and ``seq`` is
dense: 1, 2, 3…, so that one id tells the time (for the retention) and the place (for holes). Next
to it lies a hash: ``e`` epoch, ``q`` and ``t`` last seq and ms, ``f`` the last entry that every
device has acknowledged, ``u`` last used, ``l`` the last loss that a device was told of
(`gateway.store.endings`), and for each device ``d:<device>``, which holds
``<acknowledged id> <seen ms> <session> <connected ms> <platform>``. The session is empty while the
device is not connected, and ``!`` after it made room for another. A session that is no device has
such a row too, ``s:<session>``, while it is connected: it is counted, and counts for nothing else.

Times are milliseconds since 1970 and are passed in. Every method may raise, or put into its future,
`Unavailable` or `CommandFault`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final

import structlog
from homeport.frames import Cursor
from homeport.limits import DEDUPE_WINDOW_MS

from gateway.apps.tiers import Tier
from gateway.redis.connection import together, words_of
from gateway.redis.link import Link, Then
from gateway.store.audience import AllStored, Audience, audience_of
from gateway.store.blocks import BlockedBy
from gateway.store.conversations import Stored
from gateway.store.endings import ENDS_KEPT, ENDS_MS
from gateway.store.entries import Entry, NewMessage, parse_entries
from gateway.store.keys import CACHED, Keys, UserKeys
from gateway.store.readers import (
    Arrival,
    Checked,
    DeviceState,
    Progress,
    Reader,
    TokenRevoked,
    TooManyDevices,
)
from gateway.store.scripts import script

_log = structlog.get_logger()

_DELIVER: Final = script("deliver", "half", "keep")
_ATTACH: Final = script("attach", "half")
_ACK: Final = script("ack")
_CHECK: Final = script("check")
_ONCE: Final = script("once")

PAGE: Final = 128
"""Entries read at once while catching up."""

EPOCH_CHARS: Final = 8
"""An epoch is the beginning of the id, as good as random, of what first needed it."""

PROFILE_MS: Final = 180 * 24 * 60 * 60 * 1000
"""How long an unused inbox keeps its numbering, and an unused conversation its receipts."""

MAX_DEVICES: Final = 64
"""Devices of one user whose cursors are kept; past it the one unseen longest is forgotten."""

STALE_MS: Final = 120_000
"""A device unseen for this long does not count as connected, whatever its killed gateway wrote."""

SEEN_MS: Final = 45_000
"""A connected device's row is refreshed by the first check after this long: two checks, which come
every half minute or so, fit into `STALE_MS` with as much again to spare."""


class InboxStore:
    """The inboxes of a region."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self.audience = partial(audience_of, keys)
        self._direct = lru_cache(CACHED)(self.audience)
        self.evictions = 0
        """Messages that made room for others because an inbox held its tier's cap."""
        self.lost_keys = 0
        """How often one of the two keys of an inbox or a log was found gone."""

    def _lost(self, evicted: int, keys: int) -> None:
        self.evictions += evicted
        if keys:
            self.lost_keys += keys
            _log.error("redis_lost_keys", keys=keys)

    def deliver(
        self,
        app_id: str,
        tier: Tier,
        users: tuple[str, ...],
        message: NewMessage,
        history: bool = False,
    ) -> asyncio.Future[int]:
        """Store `message` in the inbox of each of `users`, unless one with its id already was.

        With `history` it is kept in the log of its conversation too, a direct one between `users`.

        One call per bucket, all in one round trip. The future holds the time at which the message
        was first stored. Commands go out in the order of the calls to this method.
        """
        audience = self._direct(app_id, users, message.conversation, history)
        return self.deliver_to(app_id, tier, audience, message)

    def deliver_to(
        self,
        app_id: str,
        tier: Tier,
        audience: Audience,
        message: NewMessage,
        version: int | str = "",
        also: Sequence[asyncio.Future[Any]] = (),
    ) -> asyncio.Future[int]:
        """Store `message` in the inboxes of `audience`, as `deliver` does.

        For a group, `version` is that of the member list in `audience`; a user who left the group
        at a later version gets nothing. `also` are other calls that store the message and answer
        as these do: the future waits for them too.
        """
        stored = AllStored(len(audience) + len(also), self._lost)
        message_id, record, now_ms, conversation, sender, expires_ms = message
        arguments = words_of(
            now_ms,
            tier.retention_ms,
            tier.inbox_cap,
            DEDUPE_WINDOW_MS,
            record,
            message_id.hex()[:EPOCH_CHARS],
            version,
            "" if expires_ms is None else expires_ms,
            conversation,
            f"{app_id}:{sender}",
            1000,
        )
        for part in audience:
            dedupe = self._keys.dedupe(part.bucket, app_id, message_id)
            begin = words_of("EVALSHA", _DELIVER.sha, 1 + part.begin.number, dedupe)
            command = together(begin, part.begin, arguments, part.end)
            self._link.run_packed(stored, command, part.bucket, durable=True)
        for call in also:
            call.add_done_callback(stored.also)
        if not audience and not also:
            stored.future.set_result(now_ms)
        return stored.future

    def tell(
        self, app_id: str, message_id: bytes, payloads: Mapping[str, bytes], now_ms: int
    ) -> asyncio.Future[Stored]:
        """Publish a payload on each user's channel, unless this message id already was.

        Nothing is stored but that. The future holds the time at which it first was, and no number.
        """
        buckets: dict[int, list[UserKeys]] = {}
        names = {self._keys.user(app_id, user): payload for user, payload in payloads.items()}
        for keys in names:
            buckets.setdefault(keys.bucket, []).append(keys)
        told = _AllTold(len(buckets))
        for bucket, members in buckets.items():
            self._link.run_then(
                told,
                _ONCE,
                (self._keys.dedupe(bucket, app_id, message_id), *(m.channel for m in members)),
                now_ms,
                DEDUPE_WINDOW_MS,
                *(names[m] for m in members),
            )
        return told.future

    def publish(self, app_id: str, user: str, event: bytes) -> asyncio.Future[Any]:
        """Publish the event to the sessions of `user` that are connected now."""
        return self._link.publish(self.channel(app_id, user), event)

    async def attach(
        self,
        reader: Reader,
        tier: Tier,
        arrival: Arrival,
        now_ms: int,
        device_policy: str = "replace",
    ) -> DeviceState:
        """Make the session the one of its device, and find the position where it continues.

        `device_policy` is `App.device_policy`; if a device of the same platform is replaced, its
        session gets an event. Ephemeral sessions are counted separately, and none is replaced.

        Raises:
            TokenRevoked: tokens issued at `arrival.issued_ms` are void.
            TooManyDevices: the limit is reached, and no device is replaced.
        """
        keys = self._keys.user(reader.app_id, reader.user)
        given = arrival.cursor or Cursor("", 0, 0)
        reply = await self._link.run(
            _ATTACH,
            (
                keys.inbox,
                keys.meta,
                keys.revoked,
                keys.due,
                keys.channel,
                keys.blocked_by,
                self._keys.presence_channel(reader.app_id, reader.user),
            ),
            now_ms,
            tier.retention_ms,
            reader.device,
            reader.session,
            arrival.issued_ms,
            given.epoch,
            given.ms,
            given.number,
            PAGE,
            reader.session[:EPOCH_CHARS],
            keys.member,
            MAX_DEVICES,
            tier.devices,
            "refuse" if reader.ephemeral else device_policy,
            arrival.platform,
            STALE_MS,
            "ephemeral" if reader.ephemeral else "",
        )
        return self._attached(reply, now_ms)

    def _attached(self, reply: list[Any], now_ms: int) -> DeviceState:
        """What `attach.lua` replied."""
        if reply[0] == b"revoked":
            raise TokenRevoked("the token was revoked")
        if reply[0] == b"too many":
            raise TooManyDevices("too many devices")
        _, epoch, top_ms, top, start_ms, start, resumed, raw, blocked_by, *rest = reply
        seen_ms, lost, since_ms = rest
        self._lost(0, lost)
        read = DeviceState(
            Cursor(epoch.decode(), int(start_ms), int(start)),
            int(top),
            bool(resumed),
            None,
            parse_entries(raw),
            BlockedBy.parse(blocked_by),
            int(seen_ms),
            int(since_ms),
        )
        return read.past_what_is_gone(int(top_ms), now_ms)

    async def page(
        self, app_id: str, tier: Tier, user: str, after: Cursor, now_ms: int, count: int
    ) -> list[Entry]:
        """Up to `count` entries that follow `after` and are within the tier's time."""
        youngest = now_ms - tier.retention_ms + 1
        start = f"({after.ms}-{after.number}" if after.ms >= youngest else f"{youngest}-0"
        inbox = self._keys.user(app_id, user).inbox
        return parse_entries(await self._link.call("XRANGE", inbox, start, "+", "COUNT", count))

    def ack(
        self,
        then: Then,
        reader: Reader,
        tier: Tier,
        progress: Progress,
        now_ms: int,
    ) -> None:
        """Save the device's `progress`; its `end` gives the device free.

        A cursor of another numbering than the inbox' own changes nothing. The end and the loss are
        noted for operators. `then` is called with the answer, which only says that it is done, or
        with the error.
        """
        keys = self._keys.user(reader.app_id, reader.user)
        cursor, end, loss = progress
        ended: tuple[str, ...] = ()
        if end is not None:
            ended = (self._keys.presence_channel(reader.app_id, reader.user), keys.closes)
        self._link.run_then(
            then,
            _ACK,
            (keys.inbox, keys.meta, *ended),
            now_ms,
            tier.retention_ms,
            reader.row,
            reader.session,
            cursor.epoch,
            cursor.ms,
            cursor.number,
            "" if end is None else end.pack(reader.session, reader.device),
            "" if loss is None else loss.pack(reader.device),
            ENDS_KEPT,
            ENDS_MS,
        )

    async def check(self, reader: Reader, given: Cursor, since_ms: int, now_ms: int) -> Checked:
        """Compare a live session, last given `given`, with what Redis holds. `since_ms` is that of
        `DeviceState`."""
        keys = self._keys.user(reader.app_id, reader.user)
        epoch, _, top, holder, revoked, block_change = await self._link.run(
            _CHECK,
            (keys.inbox, keys.meta, keys.revoked, keys.blocked_by),
            now_ms,
            reader.row,
            given.ms,
            given.number,
            SEEN_MS,
            since_ms,
        )
        return Checked(
            epoch.decode(),
            int(top),
            holder.decode(),
            int(revoked),
            int(block_change),
        )

    def channel(self, app_id: str, user: str) -> str:
        """The pub/sub channel of a user."""
        return self._keys.user(app_id, user).channel


class _AllTold:
    """Takes the answers of `calls` calls of once.lua; its future holds the earliest time."""

    __slots__ = ("_left", "_times", "future")

    def __init__(self, calls: int) -> None:
        self.future: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._left = calls
        self._times: list[int] = []

    def __call__(self, reply: Any) -> None:
        if self.future.done():
            return
        if isinstance(reply, Exception):
            self.future.set_exception(reply)
            return
        self._times.append(int(reply))
        if len(self._times) == self._left:
            self.future.set_result(Stored(0, min(self._times)))
