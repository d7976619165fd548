"""Blocks between users. Each block is written twice, because the two users' buckets differ.

The blocker's half is the list that the blocker sees, and gives each change a version. The blocked
user's sessions use the other half: they read it as they attach, hear of each change on the user's
channel, and compare its change number now and then. A send therefore needs no look-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from homeport.limits import MAX_BLOCKERS, MAX_BLOCKS

from gateway.apps.tiers import Tier
from gateway.clock import Clock
from gateway.redis.errors import OperationFailed
from gateway.redis.link import Link
from gateway.store.keys import Keys
from gateway.store.scripts import script
from gateway.store.storage import BLOCK, Storage

PAGE: Final = 500
"""Users that one command reads."""

_BLOCK: Final = script("block")
_BLOCKED_BY: Final = script("blocked_by")


class TooManyBlocks(OperationFailed):
    """The user blocks `MAX_BLOCKS` others already."""


class Everybody(frozenset[str]):
    """The blockers of a user whom more than `MAX_BLOCKERS` block: all others, but no group and no
    room."""

    _user: str

    def __new__(cls, user: str) -> Self:
        self = super().__new__(cls)
        self._user = user
        return self

    def __contains__(self, other: object) -> bool:
        return isinstance(other, str) and other != self._user and ":" not in other

    def __len__(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class BlockedBy:
    """The users who block a user, as of change number `change` (0: nobody ever did)."""

    change: int
    users: frozenset[str]

    @classmethod
    def parse(cls, flat: list[bytes]) -> BlockedBy:
        """Read the hash, as HGETALL gives it."""
        change, users = 0, []
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            if not name:
                change = int(value)
            elif name == b" ":  # somebody unblocked
                continue
            elif not value.startswith(b"-"):  # else unblocked since
                users.append(name.decode())
        return cls(change, frozenset(users))


NOBODY: Final = BlockedBy(0, frozenset())
"""Of a user whom nobody ever blocked."""


class BlockStore:
    """The blocks of a region. Every method may raise `Unavailable` or `CommandFault`."""

    def __init__(self, link: Link, keys: Keys, storage: Storage | None = None) -> None:
        self._link = link
        self._keys = keys
        self._storage = storage or Storage(link, keys, Clock().wall_ms)

    async def change(
        self, app_id: str, tier: Tier, user: str, other: str, blocked: bool, now_ms: int
    ) -> None:
        """Have `user` block `other`, or no longer; both halves are written when this returns.

        Where it raises, one of them may be: do it again.

        Raises:
            TooManyBlocks.
        """
        flag, look_at = int(blocked), now_ms + tier.retention_ms
        mine, theirs = self._keys.user(app_id, user), self._keys.user(app_id, other)
        version, *changed = await self._link.run(
            _BLOCK,
            (mine.blocks, mine.due),
            other,
            flag,
            now_ms,
            MAX_BLOCKS,
            look_at,
            mine.member,
            durable=True,
        )
        if version == b"-1":
            raise TooManyBlocks("too many blocks")
        if changed == [1]:
            self._storage.made(app_id, tier, "", BLOCK if blocked else -BLOCK)
        await self._link.run(
            _BLOCKED_BY,
            (theirs.blocked_by, theirs.due, theirs.channel),
            user,
            version,
            flag,
            *changed,
            look_at,
            theirs.member,
            durable=True,
        )

    async def list(self, app_id: str, user: str) -> tuple[str, ...]:
        """Whom `user` blocks, by name."""
        names = await self._link.call("HKEYS", self._keys.user(app_id, user).blocks)
        return tuple(sorted(name.decode() for name in names if name))

    async def last_change(self, app_id: str, user: str) -> int:
        """The number of the last change of who blocks `user`; 0: nobody ever did."""
        key = self._keys.user(app_id, user).blocked_by
        return int(await self._link.call("HGET", key, "") or 0)

    async def blocked_by(self, app_id: str, user: str) -> BlockedBy:
        """The users who block `user`, with the number of the last change before they were read:
        later ones may be in it.

        They are read in pages of some `PAGE`, so nobody waits for a user whom many block; whoever
        is blocked by more than `MAX_BLOCKERS` is taken to be blocked by `Everybody`.
        """
        key = self._keys.user(app_id, user).blocked_by
        change = await self.last_change(app_id, user)
        if not change:
            return NOBODY
        users: set[str] = set()
        cursor = b"0"
        while True:
            cursor, flat = await self._link.call("HSCAN", key, cursor, "COUNT", PAGE)
            users |= BlockedBy.parse(flat).users
            if len(users) > MAX_BLOCKERS:
                return BlockedBy(change, Everybody(user))
            if cursor == b"0":
                return BlockedBy(change, frozenset(users))
