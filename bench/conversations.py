"""What keeping messages in conversations costs Redis, beside the streams of before.

Run ``python -m bench.conversations`` (``--json`` for scripts). An embedded Valkey is started for
each
side; both do the same, in turns, and a number is the median of the rounds. CPU is that of Redis
alone:
the time that it spent in calls (``INFO commandstats``), and all that the process used
(``used_cpu``).
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
from homeport.ids import GROUP, direct_conversation

from gateway.apps.app import create_app
from gateway.dev.embedded import EmbeddedValkey
from gateway.redis.link import Link
from gateway.redis.opening import open_redis
from gateway.security.keyring import Keyring
from gateway.store.conversations import ConversationStore, NewEntry
from gateway.store.entries import NewMessage
from gateway.store.group_state import Change, Member, Notice
from gateway.store.groups import GroupStore
from gateway.store.inbox import InboxStore
from gateway.store.keys import Keys
from gateway.store.log import LogStore
from gateway.store.memberships import MembershipStore
from gateway.store.replacing import Changed, RewriteStore, Where
from gateway.store.stamp import RegionIdentity, Stamp
from gateway.tasks import Tasks

ROUNDS: Final = 5
SENDS: Final = 4_000
IN_FLIGHT: Final = 100
RECORD: Final = 290
BEFORE_MS: Final = 1_790_000_000_000

KEYRING: Final = Keyring("sg", {1: 0}, {1: os.urandom(32)})
APP: Final = create_app("bench", "sg", "pro", "global", 0)


class Side:
    """One way to keep messages, on a Redis of its own."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.keys = Keys("sg")
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
        marks = [
            key for key in await self.link.call("KEYS", "*") if b":dup" in key or b":sent:" in key
        ]
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
        raise NotImplementedError

    async def make_group(self, name: str, users: list[str]) -> None:
        """A group of them; its notice is told to all."""
        raise NotImplementedError

    def send_group(self, name: str, sender: str, record: bytes) -> Awaitable[Any]:
        """A message to the group, with history."""
        raise NotImplementedError

    async def edit(self, a: str, b: str, number: int, record: bytes) -> None:
        """Edit message `number` of two users' conversation, and tell both."""
        raise NotImplementedError


class Streams(Side):
    """Streams for inboxes and logs."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.inboxes = InboxStore(link, self.keys)
        self.logs = LogStore(link, self.keys)
        self.replacing = RewriteStore(link, self.keys)
        self.groups = GroupStore(link, self.keys, self.inboxes, self.now)
        self.sent: dict[str, list[tuple[bytes, int]]] = {}

    def send(self, sender: str, to: str, record: bytes) -> Awaitable[Any]:
        """A direct message, with history."""
        talk, mid, now = direct_conversation(sender, to), os.urandom(16), self.now()
        self.sent.setdefault(talk, []).append((mid, now))
        new = NewMessage(mid, mid + record[16:], now, talk, sender)
        return self.inboxes.deliver(APP.id, APP.tier, (sender, to), new, history=True)

    async def make_group(self, name: str, users: list[str]) -> None:
        """A group of them; its notice is told to all."""
        members: dict[str, Member | None] = {user: Member("member") for user in users}
        change = Change(sealed_name=b"n" * 40, muted=False, members=members)
        notice = Notice(self.now(), os.urandom(16), os.urandom(RECORD))
        assert await self.groups.change(APP, name, None, change, notice)
        await self.groups.settled(APP, name)

    async def send_group(self, name: str, sender: str, record: bytes) -> Any:
        """A message to the group, with history."""
        group = await self.groups.current(APP, name)
        assert group is not None
        new = NewMessage(os.urandom(16), record, self.now(), GROUP + name, sender)
        kept = [self.logs.add(APP.id, APP.tier, new)]
        return await self.inboxes.deliver_to(
            APP.id, APP.tier, group.audience, new, group.version, kept
        )

    async def edit(self, a: str, b: str, number: int, record: bytes) -> None:
        """Edit message `number` of two users' conversation, and tell both."""
        talk = direct_conversation(a, b)
        mid, time_ms = self.sent[talk][number - 1]
        changed = Changed(mid, time_ms, mid + record[16:], 1, final=False)
        log = self.keys.log(APP.id, talk)
        where = Where(log.log, log.meta, self.keys.log_dedupe(APP.id, talk, mid))
        assert await self.replacing.swap(where, changed, 0)
        audience = self.inboxes.audience(APP.id, (a, b))
        await self.replacing.spread(APP.id, talk, audience, changed)
        notice = NewMessage(os.urandom(16), record[:RECORD], self.now())
        await self.inboxes.deliver(APP.id, APP.tier, (a, b), notice)


class Conversations(Side):
    """Conversations, and inboxes that refer to them."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.store = ConversationStore(link, self.keys)
        self.memberships = MembershipStore(link, self.keys, self.store)
        self.groups: dict[str, Any] = {}

    def send(self, sender: str, to: str, record: bytes) -> Awaitable[Any]:
        """A direct message, with history."""
        new = NewEntry(os.urandom(16), record, self.now(), sender)
        return self.store.send(APP.id, APP.tier, self.store.direct(APP.id, sender, to), new)

    async def make_group(self, name: str, users: list[str]) -> None:
        """A group of them; its notice is told to all."""
        members: dict[str, Member | None] = {user: Member("member") for user in users}
        change = Change(sealed_name=b"n" * 40, muted=False, members=members)
        notice = NewEntry(os.urandom(16), os.urandom(RECORD), self.now(), flags=0)
        assert await self.memberships.change(
            APP.id, APP.tier, name, None, change, self.now(), notice
        )
        self.groups[name] = await self.memberships.read(APP.id, name)

    def send_group(self, name: str, sender: str, record: bytes) -> Awaitable[Any]:
        """A message to the group, with history."""
        new = NewEntry(os.urandom(16), record, self.now(), sender)
        return self.store.send(APP.id, APP.tier, self.groups[name].recipients, new)

    async def edit(self, a: str, b: str, number: int, record: bytes) -> None:
        """Edit message `number` of two users' conversation, and tell both."""
        notice = NewEntry(os.urandom(16), record[:RECORD], self.now(), flags=0)
        to = self.store.direct(APP.id, a, b)
        assert await self.store.replace(
            APP.id, APP.tier, to, number, 0, 1, record, notice, recall=False
        )


async def _direct(side: Side, sends: int = SENDS) -> tuple[float, float]:
    """Redis microseconds for one direct message: in calls, and of CPU."""
    record = os.urandom(RECORD)
    calls, cpu = await side.calls_us(), await side.cpu_us()
    for _ in range(sends // IN_FLIGHT):
        await asyncio.gather(*(side.send("alice", "bob", record) for _ in range(IN_FLIGHT)))
    return (await side.calls_us() - calls) / sends, (await side.cpu_us() - cpu) / sends


async def _bytes_for(side: Side, prefix: str, messages: int, talks: int = 200) -> float:
    """Bytes of a stored message in conversations of so many, inboxes, rows and all."""
    before = await side.memory()
    for at in range(talks):
        for n in range(messages):
            pair = (f"{prefix}a{at}", f"{prefix}b{at}")
            await side.send(*(pair if n % 2 else pair[::-1]), os.urandom(RECORD))
    return (await side.memory() - before) / (talks * messages)


async def _bytes_of_talks(side: Side, prefix: str, messages: int, talks: int = 200) -> float:
    """The same for the conversation's own keys: its log, or its head and chunks."""
    total = 0
    for at in range(talks):
        for n in range(messages):
            pair = (f"{prefix}a{at}", f"{prefix}b{at}")
            await side.send(*(pair if n % 2 else pair[::-1]), os.urandom(RECORD))
        for key in await side.link.call("KEYS", f"*d:{prefix}a{at}:{prefix}b{at}*"):
            if b":unr:" not in key:
                total += await side.link.call("MEMORY", "USAGE", key, "SAMPLES", 0)
    return total / (talks * messages)


async def _group(side: Side, name: str, size: int) -> tuple[float, float, float]:
    """A message to a group all of whose members are away: bytes, and microseconds in calls and
    CPU."""
    users = [f"{name[:4]}u{n}" for n in range(size)]
    await side.make_group(name, users)
    grown = []
    calls, cpu, sends = 0.0, 0.0, 0
    for _ in range(9):
        before = await side.memory()
        at_calls, at_cpu = await side.calls_us(), await side.cpu_us()
        await side.send_group(name, users[0], os.urandom(RECORD))
        calls, cpu = calls + await side.calls_us() - at_calls, cpu + await side.cpu_us() - at_cpu
        sends += 1
        grown.append(await side.memory() - before)
    return statistics.median(grown), calls / sends, cpu / sends


async def _edit(side: Side, folder: Path) -> tuple[float, float]:
    """One edit in a conversation of 900 messages of 32 KiB: bytes of append-only file, and ms."""
    for _ in range(90):
        await asyncio.gather(*(side.send("ed", "fred", os.urandom(32 * 1024)) for _ in range(10)))

    def log_bytes() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*.aof"))

    before, calls = log_bytes(), await side.calls_us()
    await side.edit("ed", "fred", 450, os.urandom(32 * 1024))
    spent = (await side.calls_us() - calls) / 1000
    await asyncio.sleep(0.2)
    return log_bytes() - before, spent


async def _measured(sides: list[Side], folders: list[Path]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}

    def note(name: str, values: list[float]) -> None:
        found[name] = [round(value, 2) for value in values]

    for side in sides:  # warm
        await _direct(side, 500)
    rounds = [[await _direct(side) for side in sides] for _ in range(ROUNDS)]
    for place, what in enumerate(("in calls", "CPU")):
        note(
            f"direct message, us {what}",
            [statistics.median(r[s][place] for r in rounds) for s in range(len(sides))],
        )
    for messages in (1, 5, 20, 100):
        talks = 200 if messages < 100 else 50
        note(
            f"bytes of a message's own home, {messages} in a conversation",
            [await _bytes_of_talks(side, f"h{messages}", messages, talks) for side in sides],
        )
        note(
            f"bytes Redis grows by for a message, {messages} in a conversation",
            [await _bytes_for(side, f"t{messages}", messages, talks) for side in sides],
        )
    for size in (100, 1000):
        groups = [await _group(side, f"{size:032x}"[::-1], size) for side in sides]
        for place, what in enumerate(("bytes", "us in calls", "us CPU")):
            note(f"message to a group of {size} away, {what}", [g[place] for g in groups])
    edits = [await _edit(side, folder) for side, folder in zip(sides, folders, strict=True)]
    note("edit among 900 of 32 KiB, bytes of append-only file", [e[0] for e in edits])
    note("edit among 900 of 32 KiB, ms in calls", [e[1] for e in edits])
    return found


async def measure(urls: list[str], folders: list[Path]) -> dict[str, list[float]]:
    """Every number, for streams and for conversations."""
    links = []
    for url in urls:
        link, _ = open_redis(url, Stamp(RegionIdentity.of(KEYRING), lambda: True), Tasks())
        await link.start()
        links.append(link)
    kinds: list[Callable[[Link], Side]] = [Streams, Conversations]
    try:
        sides = [kind(link) for kind, link in zip(kinds, links, strict=True)]
        return await _measured(sides, folders)
    finally:
        for link in links:
            await link.aclose()


def main() -> None:
    """Measure, and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        EmbeddedValkey(Path(one)) as first,
        EmbeddedValkey(Path(two)) as second,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(measure([first.url, second.url], [Path(one), Path(two)]))
    if "--json" in sys.argv[1:]:
        print(json.dumps(found))
        return
    print("   streams  conversations")
    for name, (before, after) in found.items():
        print(f"{before:12,.2f} {after:12,.2f}  {name}")


if __name__ == "__main__":
    main()
