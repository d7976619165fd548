"""What tests look up of kept messages in Redis itself: chunks, records, all bytes."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from gateway.store.keys import Keys
from gateway.store.stored import StoredMessage, parse_message
from tests.chunks import chunk_of
from tests.harness import RunningWorker


def chunk(running: RunningWorker, conversation: str) -> str:
    """The key of a conversation's messages up to 127."""
    with redis.Redis.from_url(running.redis_url) as store:
        return chunk_of(store, Keys("sg").conversation(running.app.id, conversation).head)


def kept(running: RunningWorker) -> Iterator[StoredMessage]:
    """Every message that some conversation holds, also of those that are over."""
    with redis.Redis.from_url(running.redis_url) as store:
        for key in store.scan_iter("*:conv:*", count=1000):
            for name, value in store.hgetall(key).items():
                if name.isdigit():
                    yield parse_message(int(name), value)


def records(running: RunningWorker) -> list[bytes]:
    """The sealed records of all conversations."""
    return [each.record for each in kept(running) if each.record is not None]


def dump(running: RunningWorker) -> bytes:
    """All bytes of all values in the store, as Redis would save them."""
    with redis.Redis.from_url(running.redis_url) as client:
        client.config_set("rdbcompression", "no")
        found = b"".join(client.dump(key) or b"" for key in client.scan_iter(count=1000))
        client.config_set("rdbcompression", "yes")
        return found
