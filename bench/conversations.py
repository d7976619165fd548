"""What keeping messages in conversations costs Redis.

Run ``python -m bench.conversations`` (``--json`` for scripts). An embedded Valkey is started, and a
number is the median of the rounds. CPU is that of Redis alone: the time that it spent in calls
(``INFO commandstats``), and all that the process used (``used_cpu``).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop

from gateway.apps.app import create_app
from gateway.dev.embedded import EmbeddedValkey
from gateway.redis.link import Link
from gateway.redis.opening import open_redis
from gateway.security.keyring import Keyring
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry
from gateway.store.group_state import Change, Group, Member
from gateway.store.groups import GroupStore
from gateway.store.keys import Keys
from gateway.store.stamp import RegionIdentity, Stamp
from gateway.tasks import Tasks

ROUNDS: Final = 5
SENDS: Final = 4_000
IN_FLIGHT: Final = 100
RECORD: Final = 290
BEFORE_MS: Final = 1_790_000_000_000

KEYRING: Final = Keyring("sg", {1: 0}, {1: os.urandom(32)})
APP: Final = create_app("bench", "sg", "pro", "global", 0)


class Region:
    """A region's conversations, and inboxes that refer to them, on a Redis of their own."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.keys = Keys("sg")
        self.store = ConversationStore(link, self.keys)
        self.groups = GroupStore(link, self.keys, self.store, self.now)
        self.known: dict[str, Group] = {}
        self._clock: Iterator[int] = itertools.count(BEFORE_MS)

    def now(self) -> int:
        """Another millisecond each time."""
        return next(self._clock)

    async def info(self, section: str) -> dict[str, str]:
        """A section of INFO."""
        text = (await self.link.call("INFO", section)).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    async def memory(self) -> int:
        """Bytes that Redis uses, without those that end by themselves within minutes."""
        marks = [key for key in await self.link.call("KEYS", "*") if b":sent:" in key]
        for at in range(0, len(marks), 500):
            await self.link.call("DEL", *marks[at : at + 500])
        return int((await self.info("memory"))["used_memory"])

    async def calls_us(self) -> float:
        """Microseconds spent in commands."""
        stats = await self.info("commandstats")
        # All are made by scripts, whose time has that of the commands inside.
        return float(stats.get("cmdstat_evalsha", "usec=0,").split("usec=")[1].split(",")[0])

    async def cpu_us(self) -> float:
        """Microseconds of CPU that the process has used."""
        cpu = await self.info("cpu")
        return (float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])) * 1e6

    def send(self, sender: str, to: str, record: bytes) -> Awaitable[Any]:
        """A direct message, with history."""
        new = NewEntry(os.urandom(16), record, self.now(), sender)
        return self.store.send(APP.id, APP.tier, self.store.direct(APP.id, sender, to), new)

    async def make_group(self, name: str, users: list[str]) -> None:
        """A group of them; its notice is told to all."""
        members: dict[str, Member | None] = {user: Member("member") for user in users}
        change = Change(sealed_name=b"n" * 40, muted=False, members=members)
        notice = NewEntry(os.urandom(16), os.urandom(RECORD), self.now(), flags=0)
        assert await self.groups.change(APP, name, None, change, self.now(), notice)
        group = await self.groups.current(APP, name)
        assert group is not None
        self.known[name] = group

    def send_group(self, name: str, sender: str, record: bytes) -> Awaitable[Any]:
        """A message to the group, with history."""
        new = NewEntry(os.urandom(16), record, self.now(), sender)
        return self.store.send(APP.id, APP.tier, self.known[name].recipients, new)

    async def edit(self, a: str, b: str, number: int, record: bytes) -> None:
        """Edit message `number` of two users' conversation, and tell both."""
        notice = NewEntry(os.urandom(16), record[:RECORD], self.now(), flags=0)
        to = self.store.direct(APP.id, a, b)
        assert await self.store.replace(
            APP.id, APP.tier, to, number, notice, expected=0, change=1, record=record, recall=False
        )


async def _direct(region: Region, sends: int = SENDS) -> tuple[float, float]:
    """Redis microseconds for one direct message: in calls, and of CPU."""
    record = os.urandom(RECORD)
    calls, cpu = await region.calls_us(), await region.cpu_us()
    for _ in range(sends // IN_FLIGHT):
        await asyncio.gather(*(region.send("alice", "bob", record) for _ in range(IN_FLIGHT)))
    return (await region.calls_us() - calls) / sends, (await region.cpu_us() - cpu) / sends


def _appended(folder: Path) -> int:
    """Bytes of the append-only file."""
    return sum(path.stat().st_size for path in folder.rglob("*.aof"))


async def _appended_for(
    region: Region, folder: Path, step: Callable[[int], Awaitable[Any]], count: int
) -> tuple[float, float]:
    """One of `count` steps: bytes of append-only file, and microseconds in calls."""
    before, calls = _appended(folder), await region.calls_us()
    for number in range(count):
        await step(number)
    calls = await region.calls_us() - calls
    await asyncio.sleep(0.2)
    return (_appended(folder) - before) / count, calls / count


async def _bytes_for(region: Region, prefix: str, messages: int, talks: int = 200) -> float:
    """Bytes of a stored message in conversations of so many, inboxes, rows and all."""
    before = await region.memory()
    for at in range(talks):
        for n in range(messages):
            pair = (f"{prefix}a{at}", f"{prefix}b{at}")
            await region.send(*(pair if n % 2 else pair[::-1]), os.urandom(RECORD))
    return (await region.memory() - before) / (talks * messages)


async def _bytes_of_talks(region: Region, prefix: str, messages: int, talks: int = 200) -> float:
    """The same for the conversation's own keys: its head and chunks."""
    total = 0
    for at in range(talks):
        for n in range(messages):
            pair = (f"{prefix}a{at}", f"{prefix}b{at}")
            await region.send(*(pair if n % 2 else pair[::-1]), os.urandom(RECORD))
        for key in await region.link.call("KEYS", f"*d:{prefix}a{at}:{prefix}b{at}*"):
            total += await region.link.call("MEMORY", "USAGE", key, "SAMPLES", 0)
    return total / (talks * messages)


async def _group(region: Region, name: str, size: int) -> tuple[float, float, float]:
    """A message to a group all of whose members are away: bytes, and microseconds in calls and
    CPU."""
    users = [f"{name[:4]}u{n}" for n in range(size)]
    await region.make_group(name, users)
    grown = []
    calls, cpu, sends = 0.0, 0.0, 0
    for _ in range(9):
        before = await region.memory()
        at_calls, at_cpu = await region.calls_us(), await region.cpu_us()
        await region.send_group(name, users[0], os.urandom(RECORD))
        calls, cpu = (
            calls + await region.calls_us() - at_calls,
            cpu + await region.cpu_us() - at_cpu,
        )
        sends += 1
        grown.append(await region.memory() - before)
    return statistics.median(grown), calls / sends, cpu / sends


async def _edit(region: Region, folder: Path) -> tuple[float, float]:
    """One edit in a conversation of 900 messages of 32 KiB: bytes of append-only file, and ms."""
    for _ in range(90):
        await asyncio.gather(*(region.send("ed", "fred", os.urandom(32 * 1024)) for _ in range(10)))

    grown, spent = await _appended_for(
        region, folder, lambda _: region.edit("ed", "fred", 450, os.urandom(32 * 1024)), 1
    )
    return grown, spent / 1000


async def _small(region: Region, folder: Path) -> dict[str, float]:
    """A message of two users, and an edit of it: one at a time."""
    people = ("ned", "fay")
    sent = await _appended_for(
        region, folder, lambda _: region.send(*people, os.urandom(RECORD)), 100
    )
    edited = await _appended_for(
        region, folder, lambda n: region.edit(*people, n + 1, os.urandom(RECORD)), 100
    )
    return {
        "direct message, bytes of append-only file": sent[0],
        "edit, bytes of append-only file": edited[0],
        "edit, us in calls": edited[1],
    }


async def _measured(region: Region, folder: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    await _direct(region, 500)  # warm
    rounds = [await _direct(region) for _ in range(ROUNDS)]
    for place, what in enumerate(("in calls", "CPU")):
        found[f"direct message, us {what}"] = statistics.median(each[place] for each in rounds)
    found |= await _small(region, folder)
    for messages in (1, 5, 20, 100):
        talks = 200 if messages < 100 else 50
        found[
            f"bytes of a message's own home, {messages} in a conversation"
        ] = await _bytes_of_talks(region, f"h{messages}", messages, talks)
        found[
            f"bytes Redis grows by for a message, {messages} in a conversation"
        ] = await _bytes_for(region, f"t{messages}", messages, talks)
    for size in (100, 1000):
        costs = await _group(region, f"{size:032x}"[::-1], size)
        for what, cost in zip(("bytes", "us in calls", "us CPU"), costs, strict=True):
            found[f"message to a group of {size} away, {what}"] = cost
    grown, spent = await _edit(region, folder)
    found["edit among 900 of 32 KiB, bytes of append-only file"] = grown
    found["edit among 900 of 32 KiB, ms in calls"] = spent
    return found


async def measure(url: str, folder: Path) -> dict[str, float]:
    """Every number, by what it counts."""
    link, _ = open_redis(url, Stamp(RegionIdentity.of(KEYRING), lambda: True), Tasks())
    await link.start()
    try:
        return await _measured(Region(link), folder)
    finally:
        await link.aclose()


def main() -> None:
    """Measure, and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedValkey(Path(folder)) as valkey,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(measure(valkey.url, Path(folder)))
    if "--json" in sys.argv[1:]:
        print(json.dumps({name: round(value, 2) for name, value in found.items()}))
        return
    for name, value in found.items():
        print(f"{value:12,.2f}  {name}")


if __name__ == "__main__":
    main()
