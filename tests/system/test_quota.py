"""One user of a free app stores all they can through two gateways; another app does not notice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from pathlib import Path
from typing import Any, Final

import redis
from homeport import Client, RateLimited, StorageFull

from gateway.apps.app import App, create_app
from gateway.apps.tiers import STRANGERS, TIERS
from gateway.security import tokens
from tests.system.site import Site, open_site, ws

FREE: Final = TIERS["free"]
BODY: Final = b"x" * (FREE.max_body - 8)
SLACK: Final = 3 << 20
"""What Redis needs beside the data, what two gateways did not know of each other, and the marks."""


class Attack:
    """Senders of one user, each over a gateway of its own."""

    def __init__(self) -> None:
        self.refusals: list[dict[str, str]] = []
        self.stored = 0
        self._numbers = itertools.count()

    async def send(self, client: Client, to: str) -> None:
        """Send bodies of 8 KiB as fast as it goes, until one is refused for good."""

        async def sending() -> None:
            while not self.refusals:
                try:
                    await client.send(to, b"%08d" % next(self._numbers) + BODY, timeout=10)
                except StorageFull as full:
                    self.refusals.append(full.details)
                except RateLimited:
                    continue
                else:
                    self.stored += 1

        await asyncio.gather(*(sending() for _ in range(8)))


def memory(site: Site) -> int:
    """What Redis uses."""
    with redis.Redis.from_url(site.store.url) as raw:
        found: Any = raw.info("memory")
        return int(found["used_memory"])


async def app_of(site: Site, tier: str) -> App:
    """One more app."""
    now_ms = int(time.time() * 1000)
    app = create_app("other", site.region, tier, "global", now_ms)
    async with site.admin() as admin:
        await admin.apps.create(app, now_ms)
    return app


def token(site: Site, app: App, user: str) -> str:
    """A token for a user of `app`, issued now."""
    return tokens.mint(app.id, app.certificates[0], site.region, user, time.time())


async def test_a_free_user_fills_their_quota_and_no_more(tmp_path: Path) -> None:
    """HP-17.5-1, HP-17.5-2, HP-17.5-6: a user of a free app made a group of 99 users who never
    were, and sent bodies of 8 KiB: 5 MB took 523 MB of Redis in four seconds, and messages of other
    apps were refused. Now that ends at a sixteenth of the sender's number, through whichever
    gateway, and Redis grows by no more. (Thirty of them, so that the price does not end it before.)
    """
    with contextlib.ExitStack() as stack:
        site = await open_site(stack, tmp_path, store_options=())
        urls = [ws(await site.gateway("a")), ws(await site.gateway("b"))]
        free, other = await app_of(site, "free"), await app_of(site, "free")
        async with (
            Client(urls[0], device="d1", token=token(site, free, "eve")) as one,
            Client(urls[1], device="d2", token=token(site, free, "eve")) as two,
            Client(urls[1], device="d1", token=token(site, other, "ann")) as ann,
        ):
            strange = await one.create_group("many", [f"never-{n}" for n in range(30)])
            before = memory(site)
            attack = Attack()
            async with asyncio.timeout(60):
                await asyncio.gather(*(attack.send(each, strange.peer) for each in (one, two)))
            assert attack.refusals[0] == {"quota": "sender", "of": "never_connected"}
            assert attack.stored > 20
            assert memory(site) - before < FREE.sender_bytes / STRANGERS + SLACK

            for number in range(20):
                await ann.send("bea", f"{number}", timeout=5)
