"""What keeps a region's Redis from being used, and what is not in it::

OperationFailed          (`gateway.redis.errors`)
+-- AppNotFound          no such app in this region
+-- AppExists            an app has this id already
+-- TooManyRevoked       so many tokens of a user were revoked one by one
+-- WrongServer
    +-- StampError           this Redis is not for this gateway
        +-- RegionMissing    it is empty, and the region keeps its data in another one
        +-- WrongRegionStamp it belongs to another region
        +-- WrongSchema      its data was written by another version of Homeport
        +-- WrongKeys        its data was sealed with other keys
"""

from __future__ import annotations

from gateway.redis.errors import OperationFailed, WrongServer


class AppNotFound(OperationFailed):
    """There is no app with this id in this region."""

    def __init__(self, app_id: str) -> None:
        super().__init__(
            f"no app {app_id} in this region; `homeport app list` shows those there are"
        )
        self.app_id = app_id


class AppExists(OperationFailed):
    """An app has this id already; it is left as it is."""

    def __init__(self, app_id: str) -> None:
        super().__init__(f"app {app_id} exists already; `homeport app show` shows it")
        self.app_id = app_id


class TooManyRevoked(OperationFailed):
    """`most` tokens of the user are void one by one, and have not ended yet."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} tokens of this user are revoked already; revoke all of them: "
            "homeport token revoke --user"
        )
        self.most = most


class StampError(WrongServer):
    """This Redis is not for this gateway, which must not use it."""


class RegionMissing(StampError):
    """The Redis has no stamp, so nothing of `region` is in it. The right one may come back.

    `begun` is False where the region, as far as its key file tells, has begun nowhere yet.
    `unmarkable` says why the key file could not be marked, where that kept the region from
    beginning here.
    """

    may_become_right = True

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


class WrongSchema(StampError):
    """The Redis' keys are laid out in another way than this version reads. `found` is the number of
    their schema, "" where there is none; `reads` the one that this version reads."""

    def __init__(self, found: str, reads: int) -> None:
        written = f"has schema {found}" if found else "has no schema number"
        super().__init__(
            f"the data in this Redis {written}, and this version of Homeport reads schema {reads} "
            "only: run the version that wrote it, or point redis_url at another Redis; to begin "
            "the region anew, without all that it had, empty this Redis and run: "
            "homeport region init --again"
        )
        self.found = found
        self.reads = reads


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
