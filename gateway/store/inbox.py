"""Inboxes: what waits for a user, as references to messages of conversations.

An inbox is a list of references with dense numbers, 1, 2, 3…; beside it lies a hash with the
numbering and the user's rows (lua/row.lua), and another one: ``u`` last used, ``f`` the number up
to which every device has acknowledged, ``l`` the last loss that a device was told of
(`gateway.store.endings`), and for each device ``d:<device>``, which holds ``<acknowledged number>
<seen ms> <session> <connected ms> <platform>``. The session is empty while the device is not
connected, and ``!`` after it made room for another. A session that is no device has such a row
too, ``s:<session>``, while it is connected: it is counted, and counts for nothing else.

A cursor's ``ms`` is the time of the message that has the number, so that another message under the
same number is noticed. Times are milliseconds since 1970 and are passed in. Every method may raise,
or put into its future, `Unavailable` or `CommandFault`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from zlib import crc32

import structlog
from homeport.frames import Cursor

from gateway.apps.tiers import Tier
from gateway.redis.link import Link, Then
from gateway.store.blocks import NOBODY
from gateway.store.conversations import READ_BYTES, ConversationStore
from gateway.store.endings import ENDS_KEPT, ENDS_MS
from gateway.store.entries import Stored
from gateway.store.keys import Keys, UserKeys
from gateway.store.readers import (
    Arrival,
    Checked,
    Progress,
    Reader,
    Revocations,
    TokenRevoked,
    TooManyDevices,
)
from gateway.store.rows import conversation_of, sweep_rows
from gateway.store.scripts import script
from gateway.store.storage import DEVICE
from gateway.store.stored import Reference, StoredMessage, parse_references
from gateway.store.told import AllTold

_log = structlog.get_logger()

_ATTACH: Final = script("inbox_attach", "row", "waiting")
_ACK: Final = script("inbox_ack", "row", "waiting")
_CHECK: Final = script("inbox_check", "row", "waiting")
_PAGE: Final = script("inbox_page", "row", "waiting")
_SWEEP: Final = script("inbox_sweep", "row")
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

UNKNOWN_BYTES: Final = 1024
"""What a message is taken to have whose reference does not say. It is asked for again if it has
more and does not fit."""


class Waiting(NamedTuple):
    """What a reference of an inbox refers to. `message` is None where nothing can be shown: it has
    ended or was erased, its conversation has lost it, whatever has its number now, or the reference
    is a hole."""

    reference: Reference
    message: StoredMessage | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a device stands as it connects.

    What it has not acknowledged begins after `start`; `top` is the last number. The numbers from
    there to `here` are gone: the device is told that they are lost. `resumed` is true when it goes
    on at the client's own cursor. `references` are the first that wait. `block_change` is that of
    `BlockedBy`. `seen_ms` is when an earlier session of the device was seen last, 0 where there was
    none. `since_ms` is since when this one is connected; it is later than that of each earlier
    session of the device.
    """

    start: Cursor
    here: int
    top: int
    resumed: bool
    references: list[Reference]
    block_change: int = NOBODY.change
    seen_ms: int = 0
    since_ms: int = 0


class ReferencePage(NamedTuple):
    """References that follow a number, the first of them `here` + 1; `top` is the inbox' last
    number.

    `epoch` is empty where the numbering is gone."""

    epoch: str
    top: int
    here: int
    references: list[Reference]


class InboxStore:
    """The inboxes of a region."""

    def __init__(self, link: Link, keys: Keys, conversations: ConversationStore) -> None:
        self._link = link
        self._keys = keys
        self._conversations = conversations
        self.lost_keys = 0
        """How often one of the two keys of an inbox was found gone as a device came."""

    # -- the user's sessions -----------------------------------------------------------------------

    def channel(self, app_id: str, user: str) -> str:
        """The pub/sub channel of a user."""
        return self._keys.user(app_id, user).channel

    def tell(
        self, app_id: str, id: bytes, payloads: Mapping[str, bytes], now_ms: int, window_ms: int
    ) -> asyncio.Future[Stored]:
        """Publish a payload on each user's channel, unless the message `id` already was lately.

        Nothing is stored but that. The future holds the time at which it first was, and no number.
        """
        buckets: dict[int, list[UserKeys]] = {}
        names = {self._keys.user(app_id, user): payload for user, payload in payloads.items()}
        for keys in names:
            buckets.setdefault(keys.bucket, []).append(keys)
        told = AllTold(len(buckets))
        for bucket, members in buckets.items():
            self._link.run_then(
                told,
                _ONCE,
                (self._keys.dedupe(bucket, app_id, id), *(m.channel for m in members)),
                now_ms,
                window_ms,
                *(names[m] for m in members),
            )
        return told.future

    def publish(self, app_id: str, user: str, event: bytes) -> asyncio.Future[Any]:
        """Publish the event to the sessions of `user` that are connected now."""
        return self._link.publish(self.channel(app_id, user), event)

    # -- reading -----------------------------------------------------------------------------------

    async def attach(
        self,
        reader: Reader,
        tier: Tier,
        arrival: Arrival,
        now_ms: int,
        device_policy: str = "replace",
    ) -> Standing:
        """Make the session the one of its device, and find the number where it continues.

        `device_policy` is `App.device_policy`; if a device of the same platform is replaced, its
        session gets an event. Ephemeral sessions are counted separately, and none is replaced.

        Raises:
            TokenRevoked: the token is void, or all that were issued at `arrival.issued_ms`.
            TooManyDevices: the limit is reached, and no device is replaced.
        """
        user = self._keys.user(reader.app_id, reader.user)
        keys = self._keys.inbox(reader.app_id, reader.user)
        given = arrival.cursor or Cursor("", 0, 0)
        reply = await self._link.run(
            _ATTACH,
            (
                keys.refs,
                keys.meta,
                user.revoked,
                keys.due,
                keys.channel,
                user.blocked_by,
                self._keys.presence_channel(reader.app_id, reader.user),
                keys.rows,
            ),
            now_ms,
            tier.retention_ms,
            reader.device,
            reader.session,
            arrival.issued_ms,
            number_of(given.epoch),
            given.ms,
            given.number,
            PAGE,
            crc32(reader.session.encode()),
            keys.member,
            MAX_DEVICES,
            tier.devices,
            "refuse" if reader.ephemeral else device_policy,
            arrival.platform,
            STALE_MS,
            "ephemeral" if reader.ephemeral else "",
            READ_BYTES,
            arrival.digest,
        )
        return self._standing(reply)

    def new_device(self, app_id: str, tier: Tier) -> None:
        """Count a device that was never here, with what its user has."""
        self._conversations.storage.made(app_id, tier, "", DEVICE)

    def _standing(self, reply: list[Any]) -> Standing:
        """What `inbox_attach.lua` replied."""
        if reply[0] == b"revoked":
            raise TokenRevoked("the token was revoked")
        if reply[0] == b"too many":
            raise TooManyDevices("too many devices")
        _, epoch, top, ms, start, here, resumed, raw, block_change, seen_ms, lost, since_ms = reply
        if lost:
            self.lost_keys += 1
            _log.error("redis_lost_keys", keys=1)
        return Standing(
            Cursor(epoch_of(epoch), ms, start),
            here,
            top,
            bool(resumed),
            parse_references(here + 1, raw),
            int(block_change),
            seen_ms,
            since_ms,
        )

    async def page(self, app_id: str, user: str, after: int, count: int = PAGE) -> ReferencePage:
        """Up to `count` references that follow number `after`, of up to `READ_BYTES` together."""
        keys = self._keys.inbox(app_id, user)
        epoch, top, here, raw = await self._link.run(
            _PAGE, (keys.refs, keys.rows), after, count, READ_BYTES
        )
        return ReferencePage(epoch_of(epoch), top, here, parse_references(here + 1, raw))

    async def messages(
        self, app_id: str, tier: Tier, user: str, references: list[Reference], now_ms: int
    ) -> list[Waiting]:
        """What `references` of `user`'s inbox refer to: up to `READ_BYTES`, but for the first.

        In their order, and up to the first that was left out: those after it are to be asked for
        again. At least the first is there.
        """
        wanted: dict[str, list[int]] = {}
        sizes: dict[str, int] = {}
        left_bytes = READ_BYTES
        for ref in references:
            if ref.is_message:
                size = ref.size or UNKNOWN_BYTES
                left_bytes -= size
                if left_bytes < 0 and wanted:
                    break
                wanted.setdefault(ref.peer, []).append(ref.seq)
                sizes[ref.peer] = sizes.get(ref.peer, 0) + size
        found = await self._conversations.read(
            app_id,
            [(conversation_of(user, peer), seqs) for peer, seqs in wanted.items()],
            list(sizes.values()),
        )
        left = {peer: iter(messages) for peer, messages in zip(wanted, found, strict=True)}
        youngest = now_ms - tier.retention_ms + 1
        waiting = []
        for ref in references:
            message = None
            if ref.is_message:
                try:
                    message = next(left[ref.peer])
                except (KeyError, StopIteration):
                    break
                if message is not None and not (
                    ref.means(message) and message.readable(youngest, now_ms)
                ):
                    message = None
            waiting.append(Waiting(ref, message))
        return waiting

    def ack(self, then: Then, reader: Reader, tier: Tier, progress: Progress, now_ms: int) -> None:
        """Save the device's `progress`; its `end` gives the device free.

        A cursor of another numbering than the inbox' own changes nothing. The end and the loss are
        noted for operators. `then` is called with the answer, which only says that it is done, or
        with the error.
        """
        user = self._keys.user(reader.app_id, reader.user)
        keys = self._keys.inbox(reader.app_id, reader.user)
        cursor, end, loss = progress
        ended: tuple[str, ...] = ()
        if end is not None:
            ended = (self._keys.presence_channel(reader.app_id, reader.user), user.closes)
        self._link.run_then(
            then,
            _ACK,
            (keys.refs, keys.meta, keys.rows, *ended),
            now_ms,
            tier.retention_ms,
            reader.row,
            reader.session,
            number_of(cursor.epoch),
            cursor.ms,
            cursor.number,
            "" if end is None else end.pack(reader.session, reader.device),
            "" if loss is None else loss.pack(reader.device),
            ENDS_KEPT,
            ENDS_MS,
        )

    async def check(self, reader: Reader, given: Cursor, since_ms: int, now_ms: int) -> Checked:
        """Compare a live session, last given `given`, with what Redis holds. `since_ms` is that of
        `Standing`."""
        user = self._keys.user(reader.app_id, reader.user)
        keys = self._keys.inbox(reader.app_id, reader.user)
        epoch, top, holder, revoked, block_change = await self._link.run(
            _CHECK,
            (keys.refs, keys.meta, user.revoked, user.blocked_by, keys.rows),
            now_ms,
            reader.row,
            given.ms,
            given.number,
            SEEN_MS,
            since_ms,
        )
        revocations = Revocations.parse(revoked)
        return Checked(epoch_of(epoch), top, holder.decode(), revocations, int(block_change))

    # -- the sweeper's -----------------------------------------------------------------------------

    async def sweep(
        self, app_id: str, user: str, now_ms: int, retention_ms: int, profile_ms: int
    ) -> int:
        """Remove references, devices and rows that are past their time; how many references
        went."""
        named = self._keys.user(app_id, user)
        keys = self._keys.inbox(app_id, user)
        removed, due_ms, member = await sweep_rows(self._link, keys, now_ms, retention_ms)
        await self._link.run(
            _SWEEP,
            (keys.refs, keys.rows, keys.due, *named.beside),
            now_ms,
            retention_ms,
            profile_ms,
            keys.member,
            STALE_MS,
            due_ms,
            "1" if member else "",
        )
        return removed


def epoch_of(number: int) -> str:
    """An inbox' epoch as cursors hold it: 8 hex digits; "" where there is none."""
    return "" if number < 0 else f"{number:08x}"


def number_of(epoch: str) -> int:
    """The number that scripts know an epoch by; -1 for what is no epoch of ours."""
    try:
        return int.from_bytes(bytes.fromhex(epoch), "big") if len(epoch) == EPOCH_CHARS else -1
    except ValueError:
        return -1
