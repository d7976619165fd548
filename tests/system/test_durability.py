"""`durability = "fsync"`: on disk before ok."""

from __future__ import annotations

import asyncio

from homeport import codes, frames

from tests.harness import RawClient
from tests.system.site import DEADLINE_S, PATIENCE_S, OpenSite, refused, ws

COUNT = 1000  # a conversation takes that many at once
BEFORE = 200


async def test_fsync_keeps_what_was_accepted_when_the_store_is_killed(open_site: OpenSite) -> None:
    """G1, G2: Valkey gets SIGKILL as an `ok` arrives, with others on their way. All that was
    answered ok is there afterwards; the rest is repeated, and there once."""
    site = await open_site()
    gateway = await site.gateway(durability="fsync")
    accepted: set[int] = set()
    refused: set[int] = set()
    async with RawClient.open(ws(gateway)) as alice:
        await alice.connect(site.token("alice"))
        for n in range(COUNT):
            await alice.send(frames.Send(n + 1, f"c{n}", "bob", "text", str(n).encode()))
        while len(accepted) + len(refused) < COUNT:
            frame = await alice.receive()
            if isinstance(frame, frames.Ok):
                accepted.add(frame.id - 1)
                if len(accepted) == BEFORE:
                    site.store.kill()
            elif isinstance(frame, frames.Error):
                assert frame.code == codes.UNAVAILABLE.number
                refused.add(frame.id - 1)
    assert not accepted & refused
    assert refused, "the store was killed too late to show anything"
    site.store.start()

    async with site.client(ws(gateway), "bob") as bob, site.client(ws(gateway), "alice") as again:
        await again.send("bob", "between", timeout=PATIENCE_S)
        for n in sorted(refused):
            await again.send("bob", str(n), client_id=f"c{n}", timeout=PATIENCE_S)
        await again.send("bob", "end", timeout=PATIENCE_S)
        texts: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            async for message in bob.messages():
                assert message.seq == len(texts) + 1
                texts.append(message.text)
                if message.text == "end":
                    break
    stored = [int(text) for text in texts[: texts.index("between")]]
    assert accepted <= set(stored)
    assert stored == sorted(stored)
    assert sorted(texts) == sorted([*map(str, range(COUNT)), "between", "end"])


async def test_fsync_needs_a_store_that_writes_before_it_answers(open_site: OpenSite) -> None:
    """G1: with `appendfsync everysec` an answer promises less than asked; exit code 1."""
    site = await open_site(store_options=("--appendfsync", "everysec"))
    assert refused(site.config("a", durability="fsync")) == (
        "homeport: durability is fsync, and this Redis has appendonly yes and appendfsync "
        "everysec: set 'appendonly yes' and 'appendfsync always' there"
    )
