"""Where a conversation's messages lie in Redis, for tests that look at them or spoil them."""

from __future__ import annotations

from typing import Any, Final

from gateway.store.stored import birth_of

CHUNK: Final = 128
"""Messages that lie in one hash (lua/stored.lua)."""


def chunk_name(head: str, packed: bytes | None, seq: int = 1) -> str:
    """The key with message `seq` of the conversation whose head is at `head`; `packed` is the
    head's field ``h``."""
    birth = birth_of(packed)
    assert birth is not None, "there is no such conversation"
    return f"{head}:{int.from_bytes(birth, 'big')}:{seq // CHUNK}"


def chunk_of(store: Any, head: str, seq: int = 1) -> str:
    """The same, as the Redis behind the client `store` has it."""
    return chunk_name(head, store.hget(head, "h"), seq)
