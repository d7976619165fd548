"""The Lua scripts, and what each may do on a Redis that is full.

The first line of a script says it (https://redis.io/docs/latest/develop/programmability/lua-api/,
"Script flags"), and Redis checks that line before it runs the script:

- ``#!lua`` is for scripts that add data: sends, and changes that are reported like sends. Redis
  refuses them while it is full, can't write to its disk, or has too few replicas; the caller gets
  `Unavailable`.
- ``#!lua flags=allow-oom`` is for scripts that free memory, keep sessions alive or protect
  somebody: they work on a full Redis.
- ``#!lua flags=no-writes`` is for scripts that only read: they work on a full Redis and a full
  disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script: its text, and its SHA-1, which EVALSHA knows it by."""

    text: str
    sha: str


SCRIPTS: Final[dict[str, Script]] = {}
"""Every script by its name, loaded on each connect."""


def load(package: str, name: str, *after: str) -> Script:
    """The script in ``lua/<name>.lua`` of `package`. Each module that runs one names it once, at
    its top.

    `after` names files of local functions that the script uses; Redis has no other way to share
    them.

    Raises:
        ValueError: the script does not say what it may do on a full Redis.
    """
    folder = resources.files(package).joinpath("lua")
    side, end, rest = folder.joinpath(f"{name}.lua").read_text().partition("\n")
    if not side.startswith("#!lua"):
        raise ValueError(f"{name}.lua: its first line must be one of those in {__name__}")
    shared = "".join(folder.joinpath(f"{each}.lua").read_text() for each in after)
    text = side + end + shared + rest
    loaded = Script(text, hashlib.sha1(text.encode()).hexdigest())  # noqa: S324 - Redis' own choice
    SCRIPTS[name] = loaded
    return loaded
