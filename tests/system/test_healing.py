"""A gateway that dies between keeping a message and telling its recipients."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from gateway.store.keys import Keys
from tests.harness import until
from tests.system.site import DEADLINE_S, OpenSite, ws

_SOONER = """
from gateway.store import conversations, groups, sweeper
conversations.TAKEOVER_MS = groups.TAKEOVER_MS = 1000
sweeper.INTERVAL_S, sweeper.LEASE_MS = 0.1, 1000
"""
_DIES = (
    _SOONER
    + """
from gateway.store.fanout import Fanout
sweeper.INTERVAL_S = 3600
refer = Fanout.refer
def kept_only(self, app_id, tier, to, *said, **how):
    if "d:alice:" not in to.keys.member:
        refer(self, app_id, tier, to, *said, **how)
Fanout.refer = kept_only
"""
)


async def test_another_gateway_tells_what_a_killed_one_kept(open_site: OpenSite) -> None:
    """G1, G10: the message is in its conversation, its gateway was killed before any inbox referred
    to it, and its sender never comes back to repeat it. The recipient has it all the same: the
    gateway that sweeps next tells it, well within a minute, here within seconds."""
    site = await open_site()
    dying = await site.gateway("dying", patch=_DIES)
    names = [f"user{n}" for n in range(8)]  # in several buckets
    keys = Keys("sg")
    async with site.client(ws(dying), "alice") as alice:
        sends = [asyncio.create_task(alice.send(name, f"to {name}")) for name in names]
        heads = [keys.conversation(site.app.id, f"d:alice:{name}").head for name in names]

        async def kept() -> bool:
            async with Redis.from_url(site.store.url) as redis:
                return int(await redis.exists(*heads)) == len(heads)

        await until(kept, "the messages to be kept", DEADLINE_S)
        dying.kill()
        for send in sends:
            send.cancel()
        await asyncio.gather(*sends, return_exceptions=True)
    gateway = await site.gateway("other", patch=_SOONER)
    for name in names:
        async with site.client(ws(gateway), name) as client, asyncio.timeout(DEADLINE_S):
            message = await anext(client.messages())
        assert (message.text, message.seq) == (f"to {name}", 1)
