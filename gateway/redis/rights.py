"""What the user of a `redis_url` must be allowed to do, and whether it is.

Redis tells it without running anything (`redis.acl_check_cmd`, which came with Redis 7.0:
https://redis.io/docs/latest/develop/programmability/lua-api/). So a right that is missing is named
at the connect, and not by the first message that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gateway.redis.scripts import load

RIGHTS: Final = load("gateway.redis", "rights")

_LINK: Final = """
SPUBLISH KEY m; EVALSHA sha 1 KEY; SCRIPT LOAD text; PING; HELLO
"""
"""What links say by themselves."""

LOOKING: Final = (["INFO", "memory"], ["CONFIG", "GET", "appendfsync"])
"""What links ask for where they may: managed servers keep these from everybody."""

LISTENING: Final = frozenset({"SSUBSCRIBE", "SUNSUBSCRIBE"})
"""The rights that a gateway needs and an operator's commands do not."""


class Needed(NamedTuple):
    """A command that must be allowed: words that fit it, and what a text for people calls it.

    `keyed` is True where the words name a key or a channel.
    """

    words: tuple[str, ...]
    name: str
    keyed: bool


WAIT: Final = Needed(("WAIT", "1", "1"), "WAIT", keyed=False)
"""What a link needs that waits for replicas."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a process asks of its Redis, beside what its links say by themselves.

    `commands` are parted by ``;``, like ``GET KEY; SET KEY v``. KEY stands for each key and channel
    that the process names; `key` is one of those. `others` are commands, as words, about one key
    each that is named otherwise.
    """

    key: str
    commands: str
    others: tuple[tuple[str, ...], ...] = ()

    def needed(self, *, replicas: bool = False, cluster: bool = False) -> list[Needed]:
        """Each command that must be allowed; `LOOKING` is not among them.

        `replicas`: also what a link needs that waits for replicas; `cluster`: that to a cluster.
        """
        lines = [*_LINK.split(";"), *self.commands.split(";")]
        if cluster:
            lines += ["CLUSTER NODES", "CLUSTER MYID", "ASKING"]
        found = [WAIT] if replicas else []
        for line in lines:
            first, *rest = line.split()
            name = f"{first} {rest[0]}" if first in {"SCRIPT", "CLUSTER"} else first
            words = tuple(self.key if word == "KEY" else word for word in (first, *rest))
            found.append(Needed(words, name, self.key in words))
        found += [Needed(words, f"{words[0]} on {words[1]}", True) for words in self.others]
        return found


def arguments(commands: Sequence[Sequence[str]]) -> list[str]:
    """What `RIGHTS` is given for `commands`, each as its words."""
    return ["\n".join(words) for words in commands]


def missing(needed: Sequence[Needed], refused: Any) -> list[str]:
    """Names, for people, what `RIGHTS` has answered of `needed`; empty: nothing is missing."""
    places = {int(place) - 1 for place in refused}
    keyed = {place for place, each in enumerate(needed) if each.keyed}
    names: list[str] = []
    if keyed and keyed <= places:
        names = ["any command on its region's keys and channels"]
        places -= keyed
    names += [needed[place].name for place in sorted(places)]
    return list(dict.fromkeys(names))
