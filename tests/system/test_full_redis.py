"""A Redis that is full heals: what frees memory goes on, and after the sweep sends are accepted."""

from __future__ import annotations

from typing import Final

import redis
from homeport import codes, frames
from homeport.frames.recalls import RECALL_KIND

from tests.harness import RawClient, accepted, until
from tests.system.ops import Ops
from tests.system.site import DEADLINE_S, OpenSite, ws

FINDS_SOON: Final = "import gateway.redis.link as link; link.LOOK_EVERY_S = 0.2; "
NEVER_SWEEPS: Final = FINDS_SOON + "import gateway.store.sweeper as it; it.INTERVAL_S = 1e6"
SWEEPS_OFTEN: Final = FINDS_SOON + "import gateway.store.sweeper as it; it.INTERVAL_S = 0.2"
"""Gateways that do in a test's time what takes ten seconds, and one that leaves it to others."""

FILLING: Final = 160
BODY: Final = b"x" * 32_000
OVER: Final = 1_000_000
"""By how many bytes Redis is over its limit: more than all frees but the sweeper."""


async def _refused(client: RawClient) -> bool:
    answer = await client.say("bob", "is there room?", "c-room")
    return isinstance(answer, frames.Error) and answer.code == codes.UNAVAILABLE.number


async def test_what_frees_goes_on_and_the_sweep_heals_it(open_site: OpenSite) -> None:
    """G1, HP-7.1-6: a full Redis refused what would have freed it, and stayed full until somebody
    gave it more memory. On one that is over its limit sends are `unavailable`, and sessions begin,
    read and acknowledge; history, unread counts and lists are read; messages are recalled,
    histories deleted, tokens revoked; a gateway starts and sweeps. After that sends are accepted,
    and nothing that was accepted before is lost."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway(patch=NEVER_SWEEPS, ops_listen=ops.address)
    await ops.until("/readyz", 200)
    with redis.Redis.from_url(site.store.url) as raw:
        async with (
            RawClient.open(ws(gateway)) as alice,
            RawClient.open(ws(gateway)) as bob,
            RawClient.open(ws(gateway)) as carol,
        ):
            await alice.connect(site.token("alice"))
            began = await bob.connect(site.token("bob"))
            await carol.connect(site.token("carol"))
            ids = [accepted(await alice.say("bob", text)).id for text in ("one", "two", "three")]
            pushes = [await bob.next(frames.Push) for _ in ids]
            for number in range(FILLING):  # to somebody who is not there
                brief = frames.Options(ttl=1)
                answer = await alice.answer(
                    frames.Send, f"c-{number}", "dave", "text", BODY, options=brief
                )
                assert isinstance(answer, frames.Ok), answer
            raw.config_set("maxmemory", int(raw.info("memory")["used_memory"]) - OVER)
            await ops.fails("full", ["1"])
            assert await _refused(alice)

            # Reading, and what is acknowledged stays so.
            page = await bob.ask(frames.History, "alice")
            assert [entry.message.id for entry in page.entries] == ids[::-1]
            assert (await bob.ask(frames.Unread)).rows == [("alice", 3)]
            rows = await bob.ask(frames.Conversations)
            assert [(row.peer, row.seq) for row in rows.conversations] == [("alice", 3)]
            await bob.ask(frames.Mark, "alice", 1, 1)
            assert (await bob.ask(frames.Unread)).rows == [("alice", 2)]
            await bob.send(frames.Ack(pushes[0].number))
            await bob.ask(frames.Unread)  # answered after the acknowledgement
            cursor = frames.Cursor(began.cursor.epoch, pushes[0].ms, pushes[0].number)
            async with RawClient.open(ws(gateway)) as again:
                told = await again.connect(site.token("bob"), cursor=cursor)
                assert (told.resumed, told.lost) == (True, None)
                waiting = [(await again.next(frames.Push)).message.id for _ in ids[1:]]
                assert waiting == ids[1:]

                # What takes away.
                await alice.ask(frames.Recall, "bob", 3)
                page = await again.ask(frames.History, "alice", 50, None, 2)
                kinds = [entry.message.kind for entry in page.entries]
                assert kinds == [RECALL_KIND, RECALL_KIND]  # in its place, and the notice
                await again.ask(frames.Forget, "alice", 1)
                page = await again.ask(frames.History, "alice", 50, None, 0)
                assert page.entries[0].message.id == ids[1]
            async with site.admin() as admin:
                await admin.access.revoke(site.app.id, "carol")
            assert await carol.closed() == codes.REVOKED.number
            assert await _refused(alice)

            # The sweeper, of a gateway that started meanwhile.
            await site.gateway("b", patch=SWEEPS_OFTEN)
            await ops.until("/readyz", 200)

            async def has_room() -> bool:
                return not await _refused(alice)

            await until(has_room, within=DEADLINE_S)
            async with RawClient.open(ws(gateway)) as again:
                await again.connect(site.token("bob"), cursor=cursor)
                assert (await again.next(frames.Push)).message.id == ids[1]
                last = await again.next(frames.Push)
                while last.message.kind.startswith("homeport."):
                    last = await again.next(frames.Push)
                assert last.message.body == b"is there room?"
