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
from gateway.store.entries import NewMessage
from gateway.store.inbox import InboxStore
from gateway.store.keys import Keys
from gateway.store.readers import Arrival, Reader
from gateway.store.stamp import RegionIdentity, Stamp
from gateway.tasks import Tasks

PAIRS: Final = 250
EACH: Final = 100
"""Messages of each pair of users; a message is one of 25,000."""


class Kept:
    """Counts of one server, as differences."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._before: dict[str, int] = {}

    async def since(self, count: int) -> dict[str, float]:
        """What was added since the last call, for each of `count`."""
        info = (await self._link.call("INFO")).decode()
        fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        names = ("used_memory", "total_net_input_bytes", "total_net_output_bytes")
        now = {name: int(fields[name]) for name in names}
        added = {name: (now[name] - self._before.get(name, 0)) / count for name in names}
        self._before = now
        return added


async def measure(url: str) -> dict[str, float]:
    """Bytes, by what they are of."""
    link, _ = open_redis(url, Stamp(RegionIdentity.of(KEYRING), lambda: True), Tasks())
    await link.start()
    try:
        inboxes, records, kept = InboxStore(link, Keys("sg")), Records(Sealer(KEYRING)), Kept(link)
        now_ms = time.time_ns() // 1_000_000
        pairs = [(f"alice{number:05}", f"bob{number:05}") for number in range(PAIRS)]
        await asyncio.gather(
            *(
                inboxes.attach(
                    Reader(APP.id, user, "phone", f"{user:0<32}"), APP.tier, Arrival(now_ms), now_ms
                )
                for pair in pairs
                for user in pair
            )
        )
        # Not by the server's memory: the buffers of a connection weigh as much as these.
        sizes = [await link.call("MEMORY", "USAGE", key) for key in await link.call("KEYS", "*:{*")]
        found = {"user: rows in Redis": sum(sizes) / (2 * PAIRS)}
        await kept.since(1)

        async def deliver(at_ms: int, *, history: bool) -> dict[str, float]:
            for _ in range(EACH):
                calls = []
                for alice, bob in pairs:
                    talk = direct_conversation(alice, bob)
                    message = frames.Message(os.urandom(16), alice, bob, at_ms, "text", BODY)
                    record = records.make(APP, message, talk)
                    new = NewMessage(message.id, record, at_ms, talk, alice)
                    calls.append(inboxes.deliver(APP.id, APP.tier, (alice, bob), new, history))
                await asyncio.gather(*calls)
            return await kept.since(PAIRS * EACH)

        plain = await deliver(now_ms, history=False)
        logged = await deliver(now_ms, history=True)
        marks = await _without_marks(link, kept)
        found["message: mark against repeats"] = -marks / 4
        found["message: in an inbox"] = (plain["used_memory"] + marks / 2) / 2
        found["message: in a history"] = logged["used_memory"] - plain["used_memory"]
        found["message: to Redis"] = logged["total_net_input_bytes"]
        found["message: from Redis, without pushes"] = logged["total_net_output_bytes"]
        return found
    finally:
        await link.aclose()


async def _without_marks(link: Link, kept: Kept) -> float:
    """What memory a message has less once its marks are over; there were two for each."""
    names = list(await link.call("KEYS", "*:dup:*"))
    for start in range(0, len(names), 1000):
        await link.call("DEL", *names[start : start + 1000])
    return (await kept.since(PAIRS * EACH))["used_memory"]


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
