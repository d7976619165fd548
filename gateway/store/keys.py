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


def bucket_of(app_id: str, user: str) -> int:
    """The bucket of a user, 0-255: CRC-32 of ``<app>:<user>``, modulo 256. Never changes."""
    return zlib.crc32(f"{app_id}:{user}".encode()) % BUCKETS


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
    talks: str
    unread: str

    def waiting(self, conversation: str) -> str:
        """List: the times of the unread messages of a conversation, as they came."""
        return f"{self.unread}:{conversation}"

    def delivered(self, conversation: str) -> tuple[str, ...]:
        """What a delivery touches."""
        waiting = self.waiting(conversation)
        return self.inbox, self.meta, self.channel, self.talks, self.unread, waiting


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
        """The due list of a bucket: sorted set, member ``<app>:<user>``, score in ms since 1970."""
        return f"{self._prefix}{{{bucket}}}:due"

    def dedupe(self, bucket: int, app_id: str, message_id: bytes) -> str:
        """Remembers, in one bucket, that this message was stored there."""
        return f"{self._prefix}{{{bucket}}}:dup:{app_id}:{message_id.hex()}"

    def marks(self, app_id: str, conversation: str) -> str:
        """The watermarks of a conversation's people: hash of user to ``<delivered> <read>``."""
        bucket = bucket_of(app_id, conversation)
        return f"{self._prefix}{{{bucket}}}:marks:{app_id}:{conversation}"

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
            talks=f"{head}talk:{member}",
            unread=f"{head}unr:{member}",
        )
