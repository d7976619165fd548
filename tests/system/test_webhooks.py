"""Webhooks of a gateway whose sender is killed again and again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

from homeport import Client

from tests.gateway.hooks.receiving import Receiver, receiving
from tests.harness import until
from tests.processes import children
from tests.system.site import OpenSite, ws

MESSAGES = int(os.environ.get("HOOK_MESSAGES", "2000"))
KILLS = int(os.environ.get("HOOK_KILLS", "3"))
"""The environment makes a soak run of it."""


def sender_of(pid: int) -> int | None:
    """The process that sends a gateway's webhooks, once it is there."""
    for child in children(pid):
        if Path(f"/proc/{child}/comm").read_text() == "homeport-hooks\n":
            return child
    return None


async def send(client: Client, to: str, count: int) -> None:
    """Send so many messages, some of them at a time."""
    for at in range(0, count, 50):
        await asyncio.gather(*(client.send(to, f"{n}") for n in range(at, min(at + 50, count))))


def numbers(receiver: Receiver) -> dict[int, set[str]]:
    """The ids that came with each number."""
    found: dict[int, set[str]] = {}
    for headers, body in receiver.came:
        number = json.loads(body)["data"]["seq"]
        found.setdefault(number, set()).add(headers["webhook-id"])
    return found


async def test_no_event_is_lost_with_the_process_that_sends_them(open_site: OpenSite) -> None:
    """G10: it is killed in the middle of its work, and each number comes, once or with its id."""
    site = await open_site()
    gateway = await site.gateway(workers=1, webhook_networks=["127.0.0.0/8"])
    async with receiving(None) as receiver:
        async with site.admin() as admin:
            now_ms = int(time.time() * 1000)
            url = f"http://127.0.0.1:{receiver.port}/"
            await admin.webhooks.add(site.app.id, url, ("message.sent",), now_ms)
        async with site.client(ws(gateway), "ann") as ann:
            sending = asyncio.create_task(send(ann, "bob", MESSAGES))
            for kill in range(1, KILLS + 1):
                part = MESSAGES * kill // (KILLS + 1)
                await until(lambda part=part: len(receiver.came) > part, within=60 + MESSAGES / 50)  # type: ignore[misc]
                sender = await until(lambda: sender_of(gateway.pid))
                os.kill(sender, signal.SIGKILL)
            await sending
        await until(
            lambda: len(numbers(receiver)) >= MESSAGES, "all numbers", within=60 + MESSAGES / 50
        )
    found = numbers(receiver)
    assert sorted(found) == list(range(1, MESSAGES + 1))
    assert all(len(ids) == 1 for ids in found.values())
    assert len(set.union(*found.values())) == MESSAGES
