"""What can go wrong between a gateway and its Redis::

StoreError
+-- Unavailable          away, overloaded or not durable enough; nothing is known to be done
|   +-- MissingRights    the ACL user may not do all that a gateway does
|   +-- Redirected       another node of the cluster has the slot; it was not done
+-- StoreFault           Redis refused a command that should work: a bug, or foreign data
+-- Refused              Redis lets this user not in, or not do what is needed
+-- AppNotFound          no such app in this region
+-- NotDurable           this Redis does not keep what `durability` promises
+-- StampError           this Redis is not for this gateway
    +-- RegionMissing    it is empty, and the region keeps its data in another one
    +-- WrongRegionStamp it belongs to another region
    +-- WrongKeys        its data was sealed with other keys
    +-- IsCluster        it is one node of a cluster, and `redis_url` says one server
"""

from __future__ import annotations

from typing import Final


class StoreError(Exception):
    """Root of the store's errors."""


class Unavailable(StoreError):
    """Redis did not do it, or did not say so. Repeating the same request is safe.

    `reason` is a short name for logs and metrics; `retry_after` is in seconds; `detail` says more
    to a person, where there is more to say.
    """

    def __init__(self, reason: str, retry_after: float = 1.0, detail: str = "") -> None:
        super().__init__(f"Redis is unavailable: {detail or reason}")
        self.reason = reason
        self.retry_after = retry_after
        self.detail = detail


FORBIDDEN: Final = "acl"
"""The reason of an `Unavailable` that Redis' ACL is to blame for."""


class MissingRights(Unavailable):
    """The ACL user `user` may not run `commands`, which a gateway needs. It is asked again."""

    def __init__(self, user: str, commands: str) -> None:
        super().__init__(FORBIDDEN, detail=rights_text(user, commands))
        self.user = user
        self.commands = commands


def rights_text(user: str, commands: str) -> str:
    """What to do about rights that are missing."""
    return (
        f"the Redis user {user!r} may not run {commands}: "
        'give it the rights in deploy/RUNBOOK.md, "Redis\' users"'
    )


class Redirected(Unavailable):
    """The node has not got the slot: `slot` is at `host`:`port`. `ask`: for this command only."""

    def __init__(self, slot: int, host: str, port: int, ask: bool) -> None:
        super().__init__("ask" if ask else "moved")
        self.slot = slot
        self.host = host
        self.port = port
        self.ask = ask


class NotDurable(StoreError):
    """`durability` is fsync, and a Redis that messages go to answers before it has written.

    The text says which of its settings it is.
    """


class StoreFault(StoreError):
    """Redis answered a command with an error that no retry will mend. `reply` is its first word."""

    def __init__(self, reply: str) -> None:
        super().__init__(f"Redis refused a command: {reply}")
        self.reply = reply


class RedisRefused(StoreError):
    """Redis at `place` refuses, and will until somebody changes something there or in `redis_url`.

    `reason` is in the server's own words.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"Redis at {place} refuses: {reason}")
        self.place = place
        self.reason = reason


class AppNotFound(StoreError):
    """There is no app with this id in this region."""

    def __init__(self, app_id: str) -> None:
        super().__init__(
            f"no app {app_id} in this region; `homeport app list` shows those there are"
        )
        self.app_id = app_id


class StampError(StoreError):
    """This Redis is not for this gateway, which must not use it."""


class RegionMissing(StampError):
    """The Redis has no stamp, so nothing of `region` is in it. The right one may come back.

    `begun` is False where the region, as far as its key file tells, has begun nowhere yet.
    `unmarkable` says why the key file could not be marked, where that kept the region from
    beginning here.
    """

    def __init__(self, region: str, *, begun: bool = True, unmarkable: str = "") -> None:
        where = f"this Redis is empty: it is not that of region {region!r}"
        if unmarkable:
            text = (
                f"{where}, and the key file can't be marked as begun ({unmarkable}); "
                "is the region a new one? Then run: homeport region init"
            )
        elif begun:
            text = (
                f"{where}, which keeps its data in another one, or has lost it; point redis_url at "
                "the right Redis, or restore it (deploy/RUNBOOK.md, Backups); to begin the region "
                "anew, without all that it had: homeport region init --again"
            )
        else:
            text = (
                f"region {region!r} has not begun yet: its first gateway begins it, or its first "
                "app (homeport app create), or: homeport region init"
            )
        super().__init__(text)
        self.region = region
        self.begun = begun
        self.unmarkable = unmarkable


class WrongRegionStamp(StampError):
    """The Redis carries another region's stamp. `found` and `expected` are region codes."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(
            f"this Redis belongs to region {found!r}, and this gateway to {expected!r}: "
            f"point redis_url at the Redis of {expected!r}, or set region to {found!r}"
        )
        self.found = found
        self.expected = expected


class WrongKeys(StampError):
    """The key file is not the one this Redis was sealed with. `version` is the key that differs."""

    def __init__(self, version: int, missing: bool) -> None:
        problem = (
            f"has no version {version}, which this Redis' data was sealed with"
            if missing
            else f"has another key as version {version} than this Redis' data was sealed with"
        )
        super().__init__(f"the key file {problem}: set key_file to this region's own key file")
        self.version = version
        self.missing = missing


class IsCluster(StampError):
    """It is one node of a cluster, and has only some of the slots."""

    def __init__(self) -> None:
        super().__init__(
            "this Redis is a node of a cluster: begin redis_url with redis+cluster:// "
            "(or rediss+cluster://)"
        )
