"""A user's inbox: what is delivered to it, and what each device has read.

An inbox is a Redis stream whose entry ids are ``<ms>-<seq>``. ``ms`` never goes back and ``seq`` is
dense: 1, 2, 3…, so that one id tells the time (for the retention) and the place (for holes). Next
to it lies a hash: ``e`` epoch, ``q`` and ``t`` last seq and ms, ``f`` the last entry that every
device has acknowledged, ``u`` last used, and for each device ``d:<device>``, which holds
``<acknowledged id> <seen ms> <session>``.

Times are milliseconds since 1970 and are passed in. Every method may raise, or put into its future,
`Unavailable` or `StoreFault`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.apps.tiers import Tier
from gateway.store.errors import StoreError
from gateway.store.keys import Keys, UserKeys
from gateway.store.link import Link, script
from protocol.frames import Cursor
from protocol.limits import DEDUPE_WINDOW_MS, MAX_UNREAD

_DELIVER: Final = script("deliver")
_ATTACH: Final = script("attach")
_ACK: Final = script("ack")
_CHECK: Final = script("check")

PAGE: Final = 128
"""Entries read at once while catching up."""

EPOCH_CHARS: Final = 8
"""An epoch is the beginning of the id, as good as random, of what first needed it."""

PROFILE_MS: Final = 180 * 24 * 60 * 60 * 1000
"""How long an unused inbox keeps its numbering, and an unused conversation its receipts."""

MAX_DEVICES: Final = 64
"""Devices of one user whose cursors are kept; past it the one unseen longest is forgotten."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of an inbox. `record` is sealed."""

    seq: int
    ms: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands: its conversation, its sender, and its `time` there."""

    conversation: str
    sender: str
    time: int


@dataclass(frozen=True, slots=True)
class Attached:
    """Where a device stands as it connects.

    Pushes follow `cursor`; `top` is the inbox's last number. `entries` are the first of those that
    wait; there are more when the last of them is below `top`. `lost` is the range, both ends
    included, that was dropped before this device acknowledged it. `resumed` is true when `cursor`
    is the client's own and nothing is lost.
    """

    cursor: Cursor
    top: int
    resumed: bool
    lost: tuple[int, int] | None
    entries: list[Entry]


class Revoked(StoreError):
    """The token is older than the user's revocation time."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The state of a device by `Inboxes.check`.

    `epoch` is empty where the session's numbering is void; `holder` is the session that has the
    device; `revoked_before_ms` is 0 where nothing was revoked.
    """

    epoch: str
    top: int
    top_ms: int
    holder: str
    revoked_before_ms: int


class Inboxes:
    """The inboxes of a region."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def deliver(
        self,
        app_id: str,
        tier: Tier,
        message_id: bytes,
        users: Sequence[str],
        record: bytes,
        now_ms: int,
        place: Place | None = None,
    ) -> asyncio.Future[int]:
        """Store `record` in the inbox of each of `users`, unless this message id already was.

        One call a bucket, all in one round trip. The future holds the message's time, or that of
        the first try that was stored. Commands go out in the order of the calls to this method.
        With a `place`, it is counted as unread for everyone but its sender; its time is `now_ms`
        without one.
        """
        time, conversation, sender = now_ms, "", ""
        if place is not None:
            time, conversation = place.time, place.conversation
            sender = self._keys.user(app_id, place.sender).member
        buckets: dict[int, list[UserKeys]] = {}
        for user in users:
            keys = self._keys.user(app_id, user)
            buckets.setdefault(keys.bucket, []).append(keys)
        calls = [
            self._link.run(
                _DELIVER,
                (
                    self._keys.dedupe(bucket, app_id, message_id),
                    members[0].due,
                    *(name for m in members for name in m.delivered(conversation)),
                ),
                now_ms,
                tier.retention_ms,
                tier.inbox_cap,
                DEDUPE_WINDOW_MS,
                record,
                message_id.hex()[:EPOCH_CHARS],
                time,
                conversation,
                sender,
                MAX_UNREAD,
                PROFILE_MS,
                *(m.member for m in members),
                durable=True,
            )
            for bucket, members in buckets.items()
        ]
        return _earliest(calls)

    async def attach(
        self,
        app_id: str,
        tier: Tier,
        user: str,
        device: str,
        session: str,
        issued_ms: int,
        cursor: Cursor | None,
        now_ms: int,
    ) -> Attached:
        """Make `session` the one of `device`, and find where it goes on.

        Raises:
            Revoked: tokens issued at `issued_ms` are void.
        """
        keys = self._keys.user(app_id, user)
        given = cursor or Cursor("", 0, 0)
        reply = await self._link.run(
            _ATTACH,
            (keys.inbox, keys.meta, keys.revoked, keys.due, keys.channel),
            now_ms,
            tier.retention_ms,
            device,
            session,
            issued_ms,
            given.epoch,
            given.ms,
            given.seq,
            PAGE,
            session[:EPOCH_CHARS],
            keys.member,
            MAX_DEVICES,
        )
        if reply[0] == b"revoked":
            raise Revoked("the token was revoked")
        _, epoch, top_ms, top, start_ms, start, resumed, raw = reply
        return _attached(
            epoch.decode(), int(top_ms), int(top), int(start_ms), int(start), bool(resumed), raw
        )

    async def page(
        self, app_id: str, tier: Tier, user: str, after: Cursor, now_ms: int, count: int
    ) -> list[Entry]:
        """Up to `count` entries that follow `after` and are within the tier's time."""
        youngest = now_ms - tier.retention_ms + 1
        start = f"({after.ms}-{after.seq}" if after.ms >= youngest else f"{youngest}-0"
        inbox = self._keys.user(app_id, user).inbox
        return _entries(await self._link.call("XRANGE", inbox, start, "+", "COUNT", count))

    def ack(
        self,
        app_id: str,
        tier: Tier,
        user: str,
        device: str,
        session: str,
        cursor: Cursor,
        now_ms: int,
        closing: bool,
    ) -> asyncio.Future[Any]:
        """The device has dealt with everything up to `cursor`; `closing` gives the device free.

        A cursor of another numbering than the inbox' own changes nothing.
        """
        keys = self._keys.user(app_id, user)
        return self._link.run(
            _ACK,
            (keys.inbox, keys.meta),
            now_ms,
            tier.retention_ms,
            device,
            session,
            cursor.epoch,
            cursor.ms,
            cursor.seq,
            "closing" if closing else "",
        )

    async def check(
        self, app_id: str, user: str, device: str, given: Cursor, now_ms: int
    ) -> Checked:
        """Compare a live session, last given `given`, with what Redis holds."""
        keys = self._keys.user(app_id, user)
        epoch, top_ms, top, holder, revoked = await self._link.run(
            _CHECK,
            (keys.inbox, keys.meta, keys.revoked),
            now_ms,
            device,
            given.ms,
            given.seq,
        )
        return Checked(epoch.decode(), int(top), int(top_ms), holder.decode(), int(revoked))

    def channel(self, app_id: str, user: str) -> str:
        """The pub/sub channel of a user."""
        return self._keys.user(app_id, user).channel


def _entries(raw: list[Any]) -> list[Entry]:
    entries = []
    for entry_id, fields in raw:
        ms, _, seq = entry_id.partition(b"-")
        entries.append(Entry(int(seq), int(ms), fields[1]))
    return entries


def _attached(
    epoch: str, top_ms: int, top: int, start_ms: int, start: int, resumed: bool, raw: list[Any]
) -> Attached:
    entries = _entries(raw)
    # Entries only ever go from the head, so what is missing between the cursor and the first that
    # is left was dropped; where none is left, everything up to the top was.
    first_left = entries[0].seq if entries else top + 1
    if first_left == start + 1:
        cursor = Cursor(epoch, start_ms, start)
        return Attached(cursor, top, resumed, None, entries)
    before = Cursor(epoch, entries[0].ms if entries else top_ms, first_left - 1)
    return Attached(before, top, False, (start + 1, first_left - 1), entries)


def _earliest(calls: list[asyncio.Future[Any]]) -> asyncio.Future[int]:
    """A future of the smallest of the calls' answers, or of the first error.

    Half of what asyncio.gather costs, and every message pays for it.
    """
    result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    left = len(calls)
    earliest: int | None = None

    def done(call: asyncio.Future[Any]) -> None:
        nonlocal left, earliest
        left -= 1
        error = call.exception()
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
            return
        time = int(call.result())
        earliest = time if earliest is None or time < earliest else earliest
        if left == 0:
            result.set_result(earliest)

    for call in calls:
        call.add_done_callback(done)
    return result
