"""How many bytes of Redis each app fills, and each of its users as a sender.

What is stored is counted by the process that stores it, at once and in memory. Each process tells
Redis as soon as it counted a fiftieth of a limit, and of apps every few seconds, and is told how
much that makes with what all others counted. So a message asks Redis nothing, and no process knows
less than what the others had not told yet. What a killed process had not told is never counted.

What is counted is what Redis needs, its allocator included, and nothing is taken off before it has
gone: messages by the time at which they were written, in slices that go once all that is in them is
past the tier's time (lua/storage.lua). What is kept for longer, like a group, is counted when it is
made, and all of it now and then (`gateway.store.census`).

Times are milliseconds since 1970.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from heapq import nlargest
from typing import Any, Final, NamedTuple

import structlog
from homeport.limits import DEDUPE_WINDOW_MS

from gateway.apps.tiers import Tier
from gateway.redis.errors import Unavailable
from gateway.redis.link import Link
from gateway.store.entries import NewEntry
from gateway.store.keys import Keys
from gateway.store.scripts import script
from gateway.store.strangers import Strangers

TOLD: Final = script("storage")
"""Adds to what is stored, and tells how much that is."""

TELL_SHARE: Final = 50
"""A process tells of what it counted once that is the limit divided by this."""

APP_SLICES: Final = 32
SENDER_SLICES: Final = 8
"""Into so many slices at least the tier's time is divided: bytes count for one slice too long."""

UNUSED_MS: Final = 180 * 24 * 60 * 60 * 1000
"""How long what was counted of somebody who stores nothing more is remembered."""

MARK: Final = 176
"""Bytes by which a message is known again, for the dedupe window."""

_FIELD: Final = 104
"""Bytes of a hash that a message needs besides its own."""

CONVERSATION: Final = 900
"""Bytes of a new conversation: its head, its place in the due list, its first chunk, and rows."""

MEMBER: Final = 240
"""Bytes of a member of a group: in its state, and the row."""

GROUP: Final = 1_200
"""Bytes of a group, without its members."""

BLOCK: Final = 400
"""Bytes of a block, in both halves."""

DEVICE: Final = 1_500
"""Bytes of a device that was never here, with all that a new user has."""

ROOM: Final = 700
"""Bytes of a room without messages."""

_UNKNOWN: Final = frozenset({"connection_lost", "replicas"})
"""Reasons of an `Unavailable` of what may have been done all the same."""

_log = structlog.get_logger()


def allocated(size: int) -> int:
    """What Redis' allocator takes for a value of `size` bytes: four sizes for each power of two."""
    size += 16
    step = 1 << max(3, size.bit_length() - 3)
    return -(-size // step) * step


def message_bytes(record: int) -> int:
    """What a message needs whose sealed record has so many bytes."""
    return allocated(record + 22) + _FIELD


class Usage:
    """What one app, or one sender where `user` is not "", has stored, as this process knows it.

    `total` and, for users who never connected, `strange` are bytes; `most` is the limit of the
    first.
    """

    __slots__ = (
        "_fields",
        "_slices",
        "holders",
        "key",
        "most",
        "strange",
        "tier",
        "total",
        "untold",
        "user",
    )

    def __init__(self, key: str, user: str, tier: Tier) -> None:
        self.key = key
        self.user = user
        self.holders = 0
        self.total = 0
        self.strange = 0
        self.untold = 0
        """Bytes that Redis was not told of, whether they came or went."""
        self._fields: dict[str, int] = {}
        self._slices = SENDER_SLICES if user else APP_SLICES
        self.adopt(tier)

    def adopt(self, tier: Tier) -> None:
        """Hold to the limits of `tier` from now on."""
        self.tier = tier
        self.most = tier.sender_bytes if self.user else tier.app_bytes

    def add(self, kind: str, size: int) -> None:
        """Count `size` bytes more: of a kind of lua/storage.lua, "m" of marks, "b" that went before
        their time."""
        self._fields[kind] = self._fields.get(kind, 0) + size
        if kind == "n":
            self.strange += size
        elif kind == "b":
            self.total -= size
        else:
            self.total += size
        self.untold += abs(size)

    def count(self, kind: str, size: int, mark: int) -> None:
        """Count a message of `size` bytes and its mark: as `add`, for what is done most often."""
        fields = self._fields
        fields[kind] = fields.get(kind, 0) + size
        fields["m"] = fields.get("m", 0) + mark
        self.total += size + mark
        self.untold += abs(size + mark)

    def telling(self, now_ms: int) -> _Told:
        """What to tell Redis; it counts as told from now on."""
        told, self._fields, self.untold = self._fields, {}, 0
        written = slice_end(now_ms, self.tier.retention_ms // self._slices)
        marks = ending(now_ms, now_ms + DEDUPE_WINDOW_MS)
        for kind, name in (("w", f"w{written}"), ("n", f"n{written}"), ("m", marks)):
            if kind in told:
                told[name] = told.get(name, 0) + told.pop(kind)
        if "s" in told:
            told["c"] = told["s"]
        return _Told(told.pop("b", 0), told, self.total, self.strange)

    def learn(self, told: _Told, call: asyncio.Future[Any]) -> None:
        """Take in Redis' answer. Where there is none, what was told is untold again: if Redis did
        it all the same, it counts twice."""
        error = call.exception()
        if error is None:
            total, strange = call.result()
            self.total += total - told.total
            self.strange += strange - told.strange
            return
        if not isinstance(error, Unavailable):
            _log.error("storage_not_told", reason=type(error).__name__)
        for name, size in (("b", told.gone), *told.fields.items()):
            self._fields[name] = self._fields.get(name, 0) + size


class _Told(NamedTuple):
    """A report: what went before its time, what was added to which fields, and the counts of this
    process that have it in them."""

    gone: int
    fields: dict[str, int]
    total: int
    strange: int


def slice_end(ms: int, span_ms: int) -> int:
    """The end of the slice of time that `ms` is in. A slice is as long as the greatest power of two
    that is no more than `span_ms`."""
    width = 1 << (span_ms.bit_length() - 1)
    return (ms // width + 1) * width


def ending(now_ms: int, ends_ms: int) -> str:
    """The field for what goes at `ends_ms`. It counts too long by up to a quarter of the time until
    then, or by a minute."""
    return f"e{slice_end(ends_ms, max(65_536, (ends_ms - now_ms) // 4))}"


class Storage:
    """What a process knows of what its apps and senders have stored."""

    def __init__(self, link: Link, keys: Keys, clock_ms: Callable[[], int]) -> None:
        self._link = link
        self._keys = keys
        self._clock_ms = clock_ms
        self.strangers = Strangers(link, keys)
        self._apps: dict[str, Usage] = {}
        self._senders: dict[tuple[str, str], Usage] = {}
        self._left: set[tuple[str, str]] = set()  # senders whom nobody holds

    def hold(self, app_id: str, user: str, tier: Tier) -> Usage:
        """What the app, or a user of it, has stored; kept until it is released as often."""
        usage = self._sender(app_id, tier, user) if user else self._app(app_id, tier)
        usage.holders += 1
        if usage.holders == 1:
            self._left.discard((app_id, user))
            self._tell(usage)  # to learn what is there
        return usage

    def release(self, app_id: str, user: str) -> None:
        """Undo one `hold`."""
        usage = self._senders[app_id, user] if user else self._apps[app_id]
        usage.holders -= 1
        if user and not usage.holders:
            self._left.add((app_id, user))

    def stored(self, app_id: str, tier: Tier, message: NewEntry) -> None:
        """A message and its mark are about to be stored."""
        self._count(app_id, tier, message, 1)

    def failed(self, app_id: str, tier: Tier, message: NewEntry, error: Exception) -> None:
        """They were not, unless `error` says that nobody knows."""
        if not (isinstance(error, Unavailable) and error.reason in _UNKNOWN):
            self._count(app_id, tier, message, -1)

    def answered(
        self, app_id: str, tier: Tier, message: NewEntry, *, new: bool, first: bool
    ) -> None:
        """They were, if it is `new`, as the `first` of its conversation or not."""
        if not new:
            self._count(app_id, tier, message, -1)
        elif first:
            self.made(app_id, tier, message.sender, CONVERSATION)

    def _count(self, app_id: str, tier: Tier, message: NewEntry, sign: int) -> None:
        kind, size = self._kind(message), sign * message_bytes(len(message.record))
        for usage in self._both(app_id, tier, message.sender):
            usage.count(kind, size, sign * MARK)
            if usage.untold * TELL_SHARE >= usage.most:
                self._tell(usage)

    def changed(self, app_id: str, tier: Tier, author: str, notice: NewEntry, less: int) -> None:
        """The notice of a change was stored, and the messages that were there before need so many
        bytes less. They are `author`'s."""
        kind, size = self._kind(notice), message_bytes(len(notice.record))
        for usage in self._both(app_id, tier, author):
            self._add(usage, kind, size + max(0, -less))
            self._add(usage, "b", max(0, less))

    def _kind(self, message: NewEntry) -> str:
        ends = message.expires_ms
        return "w" if ends is None else ending(self._clock_ms(), ends)

    def marked(self, app_id: str, tier: Tier, sender: str, count: int) -> None:
        """A message that is kept nowhere left so many marks."""
        for usage in self._both(app_id, tier, sender):
            self._add(usage, "m", count * MARK)

    def written(self, app_id: str, tier: Tier, sender: str, size: int) -> None:
        """So many bytes more are kept for the tier's time, beside what else is counted."""
        for usage in self._both(app_id, tier, sender):
            self._add(usage, "w", size)

    def for_strangers(self, app_id: str, tier: Tier, sender: str, size: int) -> None:
        """So many bytes of what is counted are for users who never connected."""
        for usage in self._both(app_id, tier, sender):
            self._add(usage, "n", size)

    def made(self, app_id: str, tier: Tier, sender: str, size: int) -> None:
        """Something of so many bytes is kept from now on, and for no certain time; below 0: it is
        kept no more.

        For the sender it counts as if it went with the tier's time.
        """
        self._add(self._app(app_id, tier), "s", size)
        if sender:
            usage = self._sender(app_id, tier, sender)
            self._add(usage, "w" if size > 0 else "b", abs(size))

    def went(self, app_id: str, tier: Tier, size: int) -> None:
        """So many bytes of an app's messages went before their time."""
        self._add(self._app(app_id, tier), "b", size)

    @property
    def fullest_tenth(self) -> float:
        """What part of its limit the fullest tenth of the apps uses on average, of those that
        somebody here holds; 0 where there is none."""
        full = [usage.total / usage.most for usage in self._apps.values() if usage.holders]
        fullest = nlargest(-(-len(full) // 10), full)
        return sum(fullest) / len(fullest) if fullest else 0.0

    async def settle(self) -> None:
        """Tell what was counted of apps, and of senders whom nobody holds.

        To be called every few seconds, and at the end.
        """
        calls = []
        for key in list(self._left):
            usage = self._senders[key]
            if usage.untold:
                calls.append(self._tell(usage))
            else:
                self._left.remove(key)
                del self._senders[key]
        for app_id, usage in list(self._apps.items()):
            if usage.untold:
                calls.append(self._tell(usage))
            elif not usage.holders:
                del self._apps[app_id]
        if calls:
            await asyncio.wait(calls)

    def _both(self, app_id: str, tier: Tier, sender: str) -> tuple[Usage, ...]:
        app = self._app(app_id, tier)
        return (app, self._sender(app_id, tier, sender)) if sender else (app,)

    def _app(self, app_id: str, tier: Tier) -> Usage:
        usage = self._apps.get(app_id)
        if usage is None:
            usage = self._apps[app_id] = Usage(self._keys.stored(app_id, ""), "", tier)
        elif usage.tier is not tier:
            usage.adopt(tier)
        return usage

    def _sender(self, app_id: str, tier: Tier, user: str) -> Usage:
        usage = self._senders.get((app_id, user))
        if usage is None:
            usage = Usage(self._keys.stored(app_id, user), user, tier)
            self._senders[app_id, user] = usage
            self._left.add((app_id, user))  # until somebody holds it
        elif usage.tier is not tier:
            usage.adopt(tier)
        return usage

    def _add(self, usage: Usage, kind: str, size: int) -> None:
        usage.add(kind, size)
        if usage.untold * TELL_SHARE >= usage.most:
            self._tell(usage)

    def _tell(self, usage: Usage) -> asyncio.Future[Any]:
        now_ms, tier = self._clock_ms(), usage.tier
        told = usage.telling(now_ms)
        call = self._link.run(
            TOLD,
            (usage.key,),
            now_ms,
            tier.retention_ms,
            2 * tier.retention_ms if usage.user else UNUSED_MS,
            told.gone,
            *(word for field in told.fields.items() for word in field),
        )
        call.add_done_callback(partial(usage.learn, told))
        return call
