"""What Redis keeps and carries: bytes of its memory and of its network, each.

Run ``python -m bench.kept`` (``--json`` for scripts). It writes with the gateway's own code to an
embedded Valkey, with a 200-byte body, and reads the server's own counts. `gateway.cli.sizing` plans
with these figures, and a test holds the two together.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from homeport import frames
from homeport.ids import direct_conversation
from homeport.limits import DEDUPE_WINDOW_MS

from bench.micro import APP, BODY, KEYRING
from gateway.chat.records import Records
from gateway.dev.embedded import EmbeddedValkey
from gateway.redis.link import Link
from gateway.redis.opening import open_redis
from gateway.security.sealing import Sealer
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry
from gateway.store.inbox import InboxStore
from gateway.store.keys import Keys
from gateway.store.readers import Arrival, Reader
from gateway.store.stamp import RegionIdentity, Stamp
from gateway.tasks import Tasks

USERS: Final = 300
PEERS: Final = 5
"""Each user talks with so many that come after them in a ring, and as many before them."""
TALKS: Final = USERS * PEERS
EACH: Final = 10
"""Messages of each conversation. Nobody acknowledges any."""


class Kept:
    """Counts of one server."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def info(self) -> dict[str, int]:
        """Bytes of memory that the server uses, and that it has got from its clients."""
        info = (await self._link.call("INFO")).decode()
        fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        return {name: int(fields[name]) for name in ("used_memory", "total_net_input_bytes")}

    async def of(self, pattern: str) -> int:
        """Bytes of the keys with such names. Those of a client's connection are not in it."""
        names = await self._link.call("KEYS", pattern)
        return sum(
            await asyncio.gather(
                *(self._link.call("MEMORY", "USAGE", name, "SAMPLES", 0) for name in names)
            )
        )

    async def without_marks(self) -> int:
        """Take the marks against repeats away; how many bytes that has freed."""
        before = await self.info()
        names = await self._link.call("KEYS", "*:sent:*")
        for start in range(0, len(names), 1000):
            await self._link.call("DEL", *names[start : start + 1000])
        return before["used_memory"] - (await self.info())["used_memory"]


async def measure(url: str) -> dict[str, float]:
    """Bytes, by what they are of."""
    link, _ = open_redis(url, Stamp(RegionIdentity.of(KEYRING), lambda: True), Tasks())
    await link.start()
    try:
        return await _measured(link)
    finally:
        await link.aclose()


async def _measured(link: Link) -> dict[str, float]:
    keys, records, kept = Keys("sg"), Records(Sealer(KEYRING)), Kept(link)
    store = ConversationStore(link, keys)
    inboxes = InboxStore(link, keys, store)
    now_ms = time.time_ns() // 1_000_000
    users = [f"somebody{number:05}" for number in range(USERS)]
    pairs = [
        (users[at], users[(at + by) % USERS]) for at in range(USERS) for by in range(1, PEERS + 1)
    ]

    async def say() -> None:
        """A message in each conversation."""
        for start in range(0, TALKS, USERS):
            calls = []
            for alice, bob in pairs[start : start + USERS]:
                talk = direct_conversation(alice, bob)
                message = frames.Message(os.urandom(16), alice, bob, now_ms, "text", BODY)
                record = records.make(APP, message, talk)
                new = NewEntry(message.id, record, now_ms, alice)
                calls.append(store.send(APP.id, APP.tier, store.direct(APP.id, alice, bob), new))
            await asyncio.gather(*calls)

    await asyncio.gather(
        *(
            inboxes.attach(
                Reader(APP.id, user, "phone", f"{user:0<32}"), APP.tier, Arrival(now_ms), now_ms
            )
            for user in users
        )
    )
    # Not by the server's memory: the buffers of a connection weigh as much as these.
    user_bytes, no_rows = await kept.of("*:{*"), await kept.of("*:rows:*")

    begin = await kept.info()
    await say()
    await kept.without_marks()
    one, one_references = await kept.info(), await kept.of("*:refs:*")
    rows = await kept.of("*:rows:*") - no_rows
    for _ in range(EACH - 1):
        await say()
    to_redis = (await kept.info())["total_net_input_bytes"] - one["total_net_input_bytes"]
    marks = await kept.without_marks()
    full, references = await kept.info(), await kept.of("*:refs:*")

    later = TALKS * (EACH - 1)
    message = full["used_memory"] - one["used_memory"] - (references - one_references)
    first = one["used_memory"] - begin["used_memory"] - one_references - rows
    return {
        "user: with one device": user_bytes / USERS,
        "user: row of a conversation": rows / (2 * TALKS),
        "user: reference in the inbox": references / (2 * TALKS * EACH),
        "conversation: beside messages and rows": first / TALKS - message / later,
        "message: in its conversation": message / later,
        "message: mark against repeats": marks / later,
        "message: to Redis": to_redis / later,
    }


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedValkey(Path(folder)) as valkey:
        found = asyncio.run(measure(valkey.url))
    if "--json" in sys.argv[1:]:
        print(json.dumps({name: round(value) for name, value in found.items()}))
        return
    print(f"bytes each; a mark lasts {DEDUPE_WINDOW_MS // 60_000} minutes")
    for name, value in found.items():
        print(f"{value:8.0f}  {name}")


if __name__ == "__main__":
    main()
