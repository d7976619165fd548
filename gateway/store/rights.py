"""What a gateway asks of its region's Redis, by itself and in its scripts."""

from __future__ import annotations

from typing import Final

from gateway.redis.rights import Rights
from gateway.store.keys import STAMP

_COMMANDS: Final = """
GET KEY; SET KEY v; DEL KEY; UNLINK KEY; EXISTS KEY; MGET KEY; PEXPIRE KEY 1; PERSIST KEY;
PEXPIRETIME KEY; PTTL KEY;
RENAME KEY KEY; HGET KEY f; HSET KEY f v; HSETNX KEY f v; HDEL KEY f; HEXISTS KEY f; HGETALL KEY;
MEMORY USAGE KEY;
HINCRBY KEY f 1; HKEYS KEY; HLEN KEY; HMGET KEY f; HSCAN KEY 0; HSTRLEN KEY f;
LINDEX KEY 0; LLEN KEY; LPOP KEY; LPUSH KEY v; LRANGE KEY 0 1; LREM KEY 0 v;
LSET KEY 0 v; LTRIM KEY 0 1; RPUSH KEY v; SADD KEY m; SCARD KEY; SISMEMBER KEY m; SMEMBERS KEY;
SREM KEY m; XADD KEY * f v; XDEL KEY 0-1; XLEN KEY; XRANGE KEY - +; XREVRANGE KEY + -;
XTRIM KEY MAXLEN 1;
ZADD KEY 0 m; ZCARD KEY; ZRANGE KEY 0 1; ZRANGEBYSCORE KEY 0 1; ZREM KEY m; ZREVRANGE KEY 0 1;
ZSCORE KEY m;
SCAN 0; SSUBSCRIBE KEY; SUNSUBSCRIBE KEY
"""


def rights_of(region: str) -> Rights:
    """What a gateway of `region` needs its Redis user to be allowed."""
    return Rights(f"hp:{region}:rights", _COMMANDS, (("HGET", STAMP, "region"),))
