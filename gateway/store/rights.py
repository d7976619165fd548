"""What the user of a `redis_url` must be allowed to do, and whether it is.

Redis tells it without running anything (`redis.acl_check_cmd`, which came with Redis 7.0:
https://redis.io/docs/latest/develop/programmability/lua-api/). So a right that is missing is named
at the connect, and not by the first message that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.store.keys import STAMP
from gateway.store.scripts import script

RIGHTS: Final = script("rights")

_COMMANDS: Final = """
GET KEY; SET KEY v; DEL KEY; UNLINK KEY; EXISTS KEY; MGET KEY; PEXPIRE KEY 1; PERSIST KEY;
PEXPIRETIME KEY; PTTL KEY;
RENAME KEY KEY; HGET KEY f; HSET KEY f v; HSETNX KEY f v; HDEL KEY f; HEXISTS KEY f; HGETALL KEY;
HINCRBY KEY f 1; HKEYS KEY; HLEN KEY; HMGET KEY f; LINDEX KEY 0; LLEN KEY; LPOP KEY; LPUSH KEY v;
LRANGE KEY 0 1; LREM KEY 0 v; LTRIM KEY 0 1; RPUSH KEY v; SADD KEY m; SISMEMBER KEY m;
XADD KEY * f v; XDEL KEY 0-1; XLEN KEY; XRANGE KEY - +; XREVRANGE KEY + -; XTRIM KEY MAXLEN 1;
ZADD KEY 0 m; ZRANGE KEY 0 1; ZRANGEBYSCORE KEY 0 1; ZREM KEY m; ZREVRANGE KEY 0 1; ZSCORE KEY m;
SPUBLISH KEY m; SSUBSCRIBE KEY; SUNSUBSCRIBE KEY; EVALSHA sha 1 KEY; SCRIPT LOAD text; PING; HELLO
"""
"""What gateways say, and what their scripts do."""


LOOKING: Final = (["INFO", "memory"], ["CONFIG", "GET", "appendfsync"])
"""What gateways ask for where they may: managed servers keep these from everybody."""


LISTENING: Final = frozenset({"SSUBSCRIBE", "SUNSUBSCRIBE"})
"""What gateways need and people who run commands do not."""


def needed(region: str, *, replicas: bool = False, cluster: bool = False) -> list[list[str]]:
    """Each command that a gateway of `region` needs, with words that fit it.

    `LOOKING` is not among them.
    """
    key = f"hp:{region}:rights"  # stands for all keys, and all channels, of the region
    lines = _COMMANDS.split(";")
    lines.append(f"HGET {STAMP} region")
    if replicas:
        lines.append("WAIT 1 1")
    if cluster:
        lines += ["CLUSTER NODES", "CLUSTER MYID", "ASKING"]
    return [[key if word == "KEY" else word for word in line.split()] for line in lines]


def arguments(commands: Sequence[Sequence[str]]) -> list[str]:
    """What `RIGHTS` is given for `commands`."""
    return ["\n".join(words) for words in commands]


def missing(commands: Sequence[Sequence[str]], refused: Any) -> list[str]:
    """Names, for people, what `RIGHTS` has answered of `commands`; empty: nothing is missing."""
    places = {int(place) - 1 for place in refused}
    keyed = {place for place, words in enumerate(commands) if any("hp:" in word for word in words)}
    names: list[str] = []
    if keyed <= places:
        names = ["any command on its region's keys and channels"]
        places -= keyed
    for place in sorted(places):
        words = commands[place]
        name = " ".join(words[:2]) if words[0] in {"SCRIPT", "CLUSTER"} else words[0]
        names.append(f"{name} on {STAMP}" if STAMP in words else name)
    return list(dict.fromkeys(names))
