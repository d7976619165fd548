"""Names of keys and channels. Nowhere else is one spelled out.

Every key of a user carries the hash tag of a bucket, so that whatever one script touches lies in
one slot, on one Redis and on Redis Cluster alike. There are 256 buckets a region.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

BUCKETS: Final = 256
STAMP: Final = "hp:region"


def bucket_of(app_id: str, name: str) -> int:
    """The bucket of a user or a conversation, 0-255: CRC-32 of ``<app>:<name>``, modulo 256.

    Never changes.
    """
    return zlib.crc32(f"{app_id}:{name}".encode()) % BUCKETS


@dataclass(frozen=True, slots=True)
class UserKeys:
    """The names that belong to one user. `member` stands for the user in the bucket's due list."""

    bucket: int
    member: str
    inbox: str
    meta: str
    revoked: str
    due: str
    channel: str


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The names that belong to one conversation's log. `member` is its own in the due list.

    A conversation's name has a ``:`` and a user's has none, so the two never meet there.
    """

    bucket: int
    member: str
    log: str
    meta: str
    due: str
    ttl: str


class Keys:
    """Spells the names of one region."""

    def __init__(self, region: str) -> None:
        self._prefix = f"hp:{region}:"
        self.apps = f"{self._prefix}apps"
        self.apps_channel = f"{self._prefix}{{apps}}:changed"
        self.sweeper = f"{self._prefix}sweeper"

    def app(self, app_id: str) -> str:
        """The sealed record of an app."""
        return f"{self._prefix}app:{app_id}"

    def due(self, bucket: int) -> str:
        """The due list of a bucket: sorted set, score in ms since 1970, member ``<app>:<user>``
        for an inbox and ``<app>:<conversation>`` for a log."""
        return f"{self._prefix}{{{bucket}}}:due"

    def ttl(self, bucket: int) -> str:
        """Entries that end before their tier's time: sorted set, score in ms since 1970, member
        ``<member of the due list> <entry id>``."""
        return f"{self._prefix}{{{bucket}}}:ttl"

    def dedupe(self, bucket: int, app_id: str, message_id: bytes) -> str:
        """Remembers, in one bucket, that this message was stored there."""
        return f"{self._prefix}{{{bucket}}}:dup:{app_id}:{message_id.hex()}"

    def log_dedupe(self, bucket: int, app_id: str, message_id: bytes) -> str:
        """As `dedupe`, for a log: its bucket may be an inbox's too."""
        return f"{self._prefix}{{{bucket}}}:dupl:{app_id}:{message_id.hex()}"

    def log(self, app_id: str, conversation: str) -> LogKeys:
        """All the names of one conversation's log."""
        bucket = bucket_of(app_id, conversation)
        member = f"{app_id}:{conversation}"
        head = f"{self._prefix}{{{bucket}}}:"
        return LogKeys(
            bucket=bucket,
            member=member,
            log=f"{head}log:{member}",
            meta=f"{head}logmeta:{member}",
            due=f"{head}due",
            ttl=f"{head}ttl",
        )

    def user(self, app_id: str, user: str) -> UserKeys:
        """All the names of one user."""
        bucket = bucket_of(app_id, user)
        member = f"{app_id}:{user}"
        head = f"{self._prefix}{{{bucket}}}:"
        return UserKeys(
            bucket=bucket,
            member=member,
            inbox=f"{head}inbox:{member}",
            meta=f"{head}dev:{member}",
            revoked=f"{head}rev:{member}",
            due=f"{head}due",
            channel=f"{head}ch:{member}",
        )
