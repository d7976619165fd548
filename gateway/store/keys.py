"""Names of keys and channels. Nowhere else is one spelled out.

Every key of a user carries the hash tag of a bucket (`BUCKET_TAGS`), so that whatever one script
touches lies in one slot, on one Redis and on Redis Cluster alike. A region has 256 buckets.
"""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64encode
from functools import lru_cache
from typing import Final, NamedTuple

from homeport.ids import GROUP, ROOM

from gateway.redis.slots import BUCKET_TAGS, BUCKETS

STAMP: Final = "hp:region"
CACHED: Final = 4096
"""Users, and conversations, whose names are kept in memory; about 1 KB each."""

_SWEPT: Final = frozenset({"rows", "refs", "dev", "log"})
"""Kinds of keys that are named after a member of the due list; ``conv`` is another."""
_HOOKS: Final = frozenset({"hooks", "hook", "hookdue"})
"""Such kinds of an app's webhooks; their members in the due list are `Keys.hook` and `hooks`."""
_LEFT: Final = frozenset({"rev", "blk", "blkby", "closes", "owng", "ownr", "stored"})
"""Such kinds that may be there without one."""


def bucket_of(app_id: str, name: str) -> int:
    """The bucket of a user or a conversation, 0-255: CRC-32 of ``<app>:<name>``, modulo 256.

    Never changes.
    """
    return zlib.crc32(f"{app_id}:{name}".encode()) % BUCKETS


class UserKeys(NamedTuple):
    """The names that belong to one user. `member` stands for the user in the bucket's due list.

    `groups` and `rooms` are those that the user made (`gateway.store.owned`).
    """

    user: str
    bucket: int
    member: str
    meta: str
    revoked: str
    due: str
    channel: str
    blocks: str
    blocked_by: str
    closes: str
    groups: str
    rooms: str
    stored: str

    @property
    def beside(self) -> tuple[str, ...]:
        """What lies beside the inbox, in the order in which inbox_sweep.lua takes it."""
        return (
            self.blocks,
            self.blocked_by,
            self.meta,
            self.closes,
            self.revoked,
            self.groups,
            self.rooms,
            self.stored,
        )


class InboxKeys(NamedTuple):
    """The names of one user's inbox of references (`gateway.store.inbox`).

    `user` and `member` are those of `UserKeys`; `rows` is the hash beside the list `refs`.
    """

    user: str
    bucket: int
    member: str
    rows: str
    refs: str
    meta: str
    due: str
    channel: str


class ConversationKeys(NamedTuple):
    """The names of one conversation. `member` stands for it in the bucket's due and ttl lists.

    The chunks' names are made of `head`'s by the scripts (lua/stored.lua). A direct conversation
    lies with its first user, a group's in the group's bucket.
    """

    bucket: int
    member: str
    head: str
    due: str
    ttl: str


class FoundKey(NamedTuple):
    """A key that was found, not asked for: what stands for it in the due list `due` is `member`.

    `swept` is False where it may be there without standing in that list. Of a chunk, `head` is the
    conversation's, and `birth` and `number` are its own.
    """

    name: str
    app_id: str
    due: str
    member: str
    head: str = ""
    birth: int = 0
    number: int = 0
    swept: bool = True

    @property
    def kind(self) -> str:
        """What begins its name within its bucket."""
        return self.name.partition("}:")[2].partition(":")[0]


class GroupKeys(NamedTuple):
    """The names that belong to one group beside those of its conversation."""

    bucket: int
    state: str


class HookQueueKeys(NamedTuple):
    """The names of what waits in one bucket for an app's webhooks.

    `member` stands for it in the bucket's due list; in `hooked` the app's id does.
    """

    bucket: int
    queue: str
    hooked: str
    due: str
    member: str


class HookKeys(NamedTuple):
    """The names of the log of one endpoint of an app's webhooks.

    `member` stands for it in the bucket's due list, `hooked_member` in `hooked`. The chunks' names
    are made of `log` by the scripts (lua/hooks_log.lua).
    """

    bucket: int
    log: str
    pending: str
    hooked: str
    hooked_member: str
    due: str
    member: str


class RoomKeys(NamedTuple):
    """The names that belong to one room.

    `meta` is spelled as a user's hash is, and `member` as a user's in the due list, so that the
    sweeper keeps the times of a room too. No user id has a colon.
    """

    bucket: int
    member: str
    log: str
    meta: str
    due: str
    channel: str
    seats: str
    users: str


class Keys:
    """Spells the names of one region."""

    def __init__(self, region: str) -> None:
        self._prefix = f"hp:{region}:"
        self.apps = f"{self._prefix}apps"
        self.deleted_apps = f"{self._prefix}apps:deleted"
        """Hash: the id of each app that was deleted, and when, in ms since 1970."""
        self.audit = f"{self._prefix}audit"
        """List: sealed notes of what operators did, the newest first."""
        self.apps_channel = f"{self._prefix}{{apps}}:changed"
        self.sweeper = f"{self._prefix}sweeper"
        self.late = f"{self._prefix}late"
        """Sorted set: the gateways that push what is older than others do (`Lateness`)."""
        # Every message asks for the names of the same few: a name costs more to spell than to keep.
        self.user = lru_cache(CACHED)(self._user)
        self.inbox = lru_cache(CACHED)(self._inbox)
        self.conversation = lru_cache(CACHED)(self._conversation)
        self.room = lru_cache(CACHED)(self._room)
        self.gateways = f"{self._prefix}gateways"
        # In the slot of the key before, which has no tag of its own.
        self.connections = f"{self._prefix}{{{self.gateways}}}:connections"
        self.gateway_names = f"{self._prefix}{{{self.gateways}}}:names"
        self.gateways_clock = f"{self._prefix}{{{self.gateways}}}:clock"
        self.hook_apps = f"{self._prefix}apps:hooked"
        """Set: the apps that have webhooks; one too many does no harm."""
        self.hook_leases = f"{self._prefix}hooks"
        """Hash: which dispatcher of webhooks has which share (lua/hooks_lease.lua)."""
        self.hook_leases_clock = f"{self._prefix}{{{self.hook_leases}}}:clock"
        self.stamp_clock = f"{self._prefix}{{{STAMP}}}:clock"

    def _in(self, bucket: int) -> str:
        """How every name in a bucket begins."""
        return f"{self._prefix}{{{BUCKET_TAGS[bucket]}}}:"

    @property
    def pattern(self) -> str:
        """What the names of a region's buckets match, for SCAN."""
        return f"{self._prefix}{{*}}:*"

    def found(self, name: str) -> FoundKey | None:
        """What a name says of its key, if its kind is one that the sweeper looks after."""
        tag, _, rest = name.removeprefix(self._prefix).partition(":")
        kind, _, member = rest.partition(":")
        app_id, _, whose = member.partition(":")
        due = f"{self._prefix}{tag}:due"
        if kind in _SWEPT or kind in _LEFT:
            return FoundKey(name, app_id, due, member, swept=kind in _SWEPT)
        if kind in _HOOKS:
            member = f"{app_id}:h:{whose.partition(':')[0]}"
            return FoundKey(name, app_id, due, member)
        if kind == "grp":
            member = f"{app_id}:{GROUP}{whose}"
            return FoundKey(name, app_id, due, member, swept=False)
        if kind != "conv" or not whose:
            return None
        parts = whose.split(":")
        own = 3 if parts[0] == "d" else 2
        conversation, numbers = ":".join(parts[:own]), parts[own:]
        member = f"{app_id}:{conversation}"
        if not numbers:
            return FoundKey(name, app_id, due, member)
        if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
            return None
        head = name.removesuffix(":" + ":".join(numbers))
        return FoundKey(name, app_id, due, member, head, int(numbers[0]), int(numbers[1]))

    @property
    def trace_orders(self) -> str:
        """Heard by every worker: which users are to be traced."""
        return f"{self._prefix}{{trace}}"

    def trace_lines(self, trace: str) -> str:
        """Heard by the command that asked for the trace, whose id is random."""
        return f"{self._prefix}{{trace:{trace}}}"

    def app(self, app_id: str) -> str:
        """The sealed record of an app."""
        return f"{self._prefix}app:{app_id}"

    def due(self, bucket: int) -> str:
        """The due list of a bucket: sorted set, score in ms since 1970, member ``<app>:<user>``
        for an inbox and ``<app>:<conversation>`` for a conversation."""
        return f"{self._in(bucket)}due"

    def ttl(self, bucket: int) -> str:
        """Messages that end before their tier's time: sorted set, score in ms since 1970, member
        ``<member of the due list> <number>``."""
        return f"{self._in(bucket)}ttl"

    def dedupe(self, bucket: int, app_id: str, message_id: bytes) -> str:
        """Remembers, in one bucket, that this message was stored there."""
        return f"{self._in(bucket)}dup:{app_id}:{message_id.hex()}"

    def group(self, app_id: str, group_id: str) -> GroupKeys:
        """All the names of one group, whose bucket is that of ``g:<id>``."""
        bucket = bucket_of(app_id, GROUP + group_id)
        head = self._in(bucket)
        return GroupKeys(
            bucket=bucket,
            state=f"{head}grp:{app_id}:{group_id}",
        )

    def rate(self, app_id: str, user: str) -> str:
        """The token bucket of a user, or of the whole app where `user` is empty."""
        return f"{self._in(bucket_of(app_id, user))}rate:{app_id}:{user}"

    def stored(self, app_id: str, user: str) -> str:
        """How many bytes a user has stored, or the whole app where `user` is empty."""
        return f"{self._in(bucket_of(app_id, user))}stored:{app_id}:{user}"

    def sent(self, bucket: int, message_id: bytes) -> str:
        """Remembers in a conversation's bucket which number of which numbering a message got, and
        its time.

        A message id is derived from the app's, so no two apps have one.
        """
        name = urlsafe_b64encode(message_id).rstrip(b"=").decode()
        return f"{self._in(bucket)}sent:{name}"

    def hooked(self, bucket: int) -> str:
        """Sorted set: what of a bucket is to be done for webhooks, scored with when, in ms."""
        return f"{self._in(bucket)}hooked"

    def hooks(self, app_id: str, bucket: int) -> HookQueueKeys:
        """What waits in a bucket for an app's webhooks (lua/happened.lua)."""
        head = self._in(bucket)
        queue = f"{head}hooks:{app_id}"
        return HookQueueKeys(bucket, queue, f"{head}hooked", f"{head}due", f"{app_id}:h:")

    def hooks_of(self, app_id: str, whom: str) -> HookQueueKeys:
        """The same, of the bucket of a user, or of the whole app where `whom` is empty."""
        return self.hooks(app_id, bucket_of(app_id, whom))

    def hook(self, app_id: str, endpoint: str) -> HookKeys:
        """The names of an endpoint's log."""
        bucket = bucket_of(app_id, f"h:{endpoint}")
        head, name = self._in(bucket), f"{app_id}:{endpoint}"
        return HookKeys(
            bucket=bucket,
            log=f"{head}hook:{name}",
            pending=f"{head}hookdue:{name}",
            hooked=f"{head}hooked",
            hooked_member=name,
            due=f"{head}due",
            member=f"{app_id}:h:{endpoint}",
        )

    def _inbox(self, app_id: str, user: str) -> InboxKeys:
        named = self.user(app_id, user)
        head = self._in(named.bucket)
        return InboxKeys(
            user=user,
            bucket=named.bucket,
            member=named.member,
            rows=f"{head}rows:{named.member}",
            refs=f"{head}refs:{named.member}",
            meta=named.meta,
            due=named.due,
            channel=named.channel,
        )

    def _conversation(self, app_id: str, conversation: str) -> ConversationKeys:
        kind, _, rest = conversation.partition(":")
        bucket = bucket_of(app_id, rest.partition(":")[0] if kind == "d" else conversation)
        member = f"{app_id}:{conversation}"
        head = self._in(bucket)
        return ConversationKeys(
            bucket=bucket,
            member=member,
            head=f"{head}conv:{member}",
            due=f"{head}due",
            ttl=f"{head}ttl",
        )

    def _user(self, app_id: str, user: str) -> UserKeys:
        """All the names of one user."""
        bucket = bucket_of(app_id, user)
        member = f"{app_id}:{user}"
        head = self._in(bucket)
        return UserKeys(
            user=user,
            bucket=bucket,
            member=member,
            meta=f"{head}dev:{member}",
            revoked=f"{head}rev:{member}",
            due=f"{head}due",
            channel=f"{head}ch:{member}",
            blocks=f"{head}blk:{member}",
            blocked_by=f"{head}blkby:{member}",
            closes=f"{head}closes:{member}",
            groups=f"{head}owng:{member}",
            rooms=f"{head}ownr:{member}",
            stored=f"{head}stored:{member}",
        )

    def presence_channel(self, app_id: str, user: str) -> str:
        """In the user's bucket: heard where somebody watches the user."""
        return f"{self._in(bucket_of(app_id, user))}pres:{app_id}:{user}"

    def clock(self, bucket: int) -> str:
        """Tells the time of the server that has a bucket (lua/now.lua)."""
        return f"{self._in(bucket)}clock"

    def probe(self, bucket: int, gateway: str) -> str:
        """What one gateway process writes and says to itself in a bucket, to know that what is sent
        is written and heard: a key and a channel."""
        return f"{self._in(bucket)}probe:{gateway}"

    def _room(self, app_id: str, room: str) -> RoomKeys:
        """All the names of one room."""
        like = self.user(app_id, ROOM + room)
        head = self._in(like.bucket)
        return RoomKeys(
            bucket=like.bucket,
            member=like.member,
            log=f"{head}log:{like.member}",
            meta=like.meta,
            due=like.due,
            channel=like.channel,
            seats=f"{head}seats:{like.member}",
            users=f"{head}users:{like.member}",
        )
