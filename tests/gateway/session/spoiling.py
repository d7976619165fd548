"""What befalls messages in Redis behind the gateway's back."""

from __future__ import annotations

import struct
from typing import Any

import redis
from homeport.ids import direct_conversation

from gateway.store.keys import Keys
from gateway.store.stored import head_size
from tests.chunks import chunk_of
from tests.harness import RunningWorker


def chunk(running: RunningWorker, one: str, other: str) -> str:
    """Where the first messages between two users lie."""
    head = Keys("sg").conversation(running.app.id, direct_conversation(one, other)).head
    with redis.Redis.from_url(running.redis_url) as store:
        return chunk_of(store, head)


def spoil(store: Any, key: str, seq: int, record: bytes) -> None:
    """Put `record` in the place of that of message `seq`, whose conversation is at `key`."""
    value = store.hget(key, seq)
    store.hset(key, seq, value[: head_size(value)] + record)


def record_of(store: Any, key: str, seq: int) -> bytes:
    """The sealed record of message `seq`."""
    value: bytes = store.hget(key, seq)
    return value[head_size(value) :]


def published(number: int, seq: int, peer: str, time_ms: int, record: bytes) -> bytes:
    """What Redis tells the sessions of a user of a new message."""
    place = struct.pack(">BQIB", 1, number, seq, len(peer)) + peer.encode()
    return place + b"\0\1" + time_ms.to_bytes(6, "big") + struct.pack(">I", seq) + record
