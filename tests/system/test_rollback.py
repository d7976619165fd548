"""Redis comes back older than it was: numbers that clients have seen are given again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis
from homeport import Client, Connected, Message, Reset, RoomGap, codes, frames
from websockets.exceptions import ConnectionClosed

from gateway.config import Settings
from gateway.redis.guard import Call
from gateway.store.keys import Keys
from tests.gateway.chat.rooming import join, pushed, write
from tests.harness import ANSWER_S, RawClient, running_worker, until
from tests.processes import GatewayProcess
from tests.system.site import DEADLINE_S, PATIENCE_S, Front, OpenSite, Site, ws

KEPT, GONE = 5, 5


async def _read(client: Client, last: str) -> list[Message]:
    """Everything up to the message whose text is `last`, acknowledged."""
    got = []
    async with asyncio.timeout(DEADLINE_S):
        async for message in client.messages():
            got.append(message)
            if message.text == last:
                break
    client.ack(got[-1])
    return got


@pytest.mark.parametrize("fresh", [2, GONE, 12], ids=["fewer", "as many", "more"])
async def test_nothing_sent_after_a_rollback_is_skipped(open_site: OpenSite, fresh: int) -> None:
    """G3, G5, HP-7.2-5: a live client and one that comes back are told of the new numbering, and
    get every message that was sent since, however many numbers were given again."""
    site = await open_site()
    gateway = await site.gateway()
    events: dict[str, list[object]] = {"phone": [], "laptop": []}

    async def send(word: str, count: int) -> None:
        for n in range(count):
            await alice.send("bob", f"{word}{n}", timeout=PATIENCE_S)

    async with (
        site.client(ws(gateway), "alice") as alice,
        site.client(ws(gateway), "bob", "phone", on_event=events["phone"].append) as phone,
    ):
        async with site.client(ws(gateway), "bob", "laptop") as laptop:
            await send("kept", KEPT)
            for bob in (phone, laptop):
                await _read(bob, f"kept{KEPT - 1}")
            backup = site.folder / "backup"
            shutil.copytree(site.store.aof, backup)
            await send("gone", GONE)
            for bob in (phone, laptop):
                await _read(bob, f"gone{GONE - 1}")
        cursor = laptop.cursor
        assert cursor is not None
        assert cursor.number == KEPT + GONE
        site.store.kill()
        site.store.restore(backup)
        site.store.start()
        await send("fresh", fresh)
        expected = [f"fresh{n}" for n in range(fresh)]
        got = await _read(phone, expected[-1])
        assert [m.text for m in got if m.text.startswith("fresh")] == expected
        assert [type(event) for event in events["phone"]].count(Reset) == 1
    laptop = site.client(
        ws(gateway), "bob", "laptop", cursor=cursor, on_event=events["laptop"].append
    )
    async with laptop:
        got = await _read(laptop, expected[-1])
        assert [m.text for m in got if m.text.startswith("fresh")] == expected
        told = [event for event in events["laptop"] if isinstance(event, Connected | Reset)]
        assert [type(event) for event in told] == [Connected, Reset]
        assert isinstance(told[0], Connected)
        assert not told[0].resumed


@pytest.mark.parametrize("fresh", [GONE, 12], ids=["as many", "more"])
async def test_a_client_that_was_away_is_told_first(open_site: OpenSite, fresh: int) -> None:
    """HP-7.2-5: nobody of this user was live to notice; its cursor names a number given again."""
    site = await open_site()
    gateway = await site.gateway()
    async with site.client(ws(gateway), "alice") as alice:
        async with site.client(ws(gateway), "bob") as bob:
            for n in range(KEPT):
                await alice.send("bob", f"kept{n}", timeout=PATIENCE_S)
            await _read(bob, f"kept{KEPT - 1}")
            backup = site.folder / "backup"
            shutil.copytree(site.store.aof, backup)
            for n in range(GONE):
                await alice.send("bob", f"gone{n}", timeout=PATIENCE_S)
            await _read(bob, f"gone{GONE - 1}")
        cursor = bob.cursor
        site.store.kill()
        site.store.restore(backup)
        site.store.start()
        expected = [f"fresh{n}" for n in range(fresh)]
        for text in expected:
            await alice.send("bob", text, timeout=PATIENCE_S)
    events: list[object] = []
    async with site.client(ws(gateway), "bob", cursor=cursor, on_event=events.append) as bob:
        got = await _read(bob, expected[-1])
        assert [m.text for m in got if m.text.startswith("fresh")] == expected
        assert [event for event in events if isinstance(event, Reset)]


async def test_a_live_session_trusts_no_number_until_it_was_checked(settings: Settings) -> None:
    """G3: after a rollback, pub/sub is back before the commands' connection, and another gateway
    gives numbers again. One of them is the very next one of a session here.

    It used to be pushed, and with it the new messages before it were skipped without a word.
    """
    async with running_worker(settings) as here, redis.Redis.from_url(here.redis_url) as store:
        names = Keys("sg").inbox(here.app.id, "bob")
        async with here.client("bob") as bob:
            await _send(here.url, here.token("alice"), KEPT)
            keys = (names.refs, names.rows, names.meta)
            old = {name: await store.dump(name) or b"" for name in keys}
            await _send(here.url, here.token("alice"), GONE)
            for number in range(1, KEPT + GONE + 1):
                push = await bob.expect(frames.Push)
                assert push.number == number
            cursor = frames.Cursor(bob.connected.cursor.epoch, push.ms, push.number)
            link, gate, learn = here.inside.link, asyncio.Event(), here.inside.link.on_greet
            assert learn is not None

            async def late(ask: Call, bucket: int | None) -> None:
                await gate.wait()
                await learn(ask, bucket)

            link.on_greet = late
            await store.client_kill_filter(_type="normal")
            await until(lambda: not link.up)
            for name, value in old.items():
                await store.restore(name, 0, value, replace=True)
            times = here.inside.reconnects
            await store.client_kill_filter(_type="pubsub")
            await until(lambda: here.inside.reconnects > times)
            assert not link.up
            async with running_worker(settings, app=here.app) as there:
                await _send(there.url, there.token("alice"), GONE + 2)
            gate.set()
            assert await _only_close(bob) == codes.STORE_UNAVAILABLE.number
        async with RawClient.open(here.url) as bob:
            connected = await bob.connect(here.token("bob"), cursor=cursor)
            assert not connected.resumed
            assert connected.cursor.epoch != cursor.epoch
            # Only the inbox is older: its conversation has what was sent before, and tells it.
            expected = [b"%d" % n for count in (KEPT, GONE, GONE + 2) for n in range(count)]
            assert [(await bob.expect(frames.Push)).message.body for _ in expected] == expected


@pytest.mark.parametrize("restarted", [False, True], ids=["the same gateway", "a new gateway"])
async def test_a_room_says_all_that_is_said_after_a_rollback(
    open_site: OpenSite, restarted: bool
) -> None:
    """HP-15.6-5, HP-15.6-6, HP-15.3-4: everybody in the room hears all that is said from then on,
    and is told that nobody knows how much is gone. Numbers that had been heard were given again
    under the same epoch, and nobody heard the messages with them."""
    site = await open_site()
    gateway = await site.gateway()
    events: list[object] = []

    async def say(word: str, count: int) -> None:
        for n in range(count):
            await his.send(f"{word}{n}", timeout=PATIENCE_S)

    async def heard(last: str) -> list[str]:
        texts = []
        async with asyncio.timeout(DEADLINE_S):
            async for message in hers:
                texts.append(message.text)
                if message.text == last:
                    break
        return texts

    async with (
        Front([gateway], random.Random(1)) as front,
        site.client(front.url, "alice", on_event=events.append) as alice,
        site.client(front.url, "bob") as bob,
        alice.room("lobby") as hers,
        bob.room("lobby") as his,
    ):
        await say("kept", KEPT)
        await heard(f"kept{KEPT - 1}")
        backup = site.folder / "backup"
        shutil.copytree(site.store.aof, backup)
        await say("gone", GONE)
        await heard(f"gone{GONE - 1}")
        if restarted:
            gateway.kill()
        site.store.kill()
        site.store.restore(backup)
        site.store.start()
        if restarted:
            gateway.start()
            await alice_is_back(events)
        await say("fresh", 3)
        assert [text for text in await heard("fresh2") if text.startswith("fresh")] == [
            "fresh0",
            "fresh1",
            "fresh2",
        ]
        assert RoomGap("lobby", None) in events


async def test_a_room_does_not_go_on_where_nobody_remembers(open_site: OpenSite) -> None:
    """HP-15.6-5, HP-15.3-2: Redis came back older while nobody was in the room, and all gateways
    are new. Its numbers went on under the same epoch, so who came back with a number that was given
    again meanwhile was told nothing of the messages up to it, and no loss."""
    site = await open_site()
    gateway = await site.gateway()

    async def say(client: RawClient, word: str, count: int) -> None:
        for n in range(count):
            assert isinstance(await write(client, f"{word}{n}"), frames.Ok)

    async with raw(site, gateway, "alice") as alice:
        epoch = (await join(alice)).epoch
        await say(alice, "kept", KEPT)
        backup = site.folder / "backup"
        shutil.copytree(site.store.aof, backup)
        await say(alice, "gone", GONE)
        heard = (await pushed(alice, KEPT + GONE))[-1][0]
    gateway.kill()
    site.store.kill()
    site.store.restore(backup)
    site.store.start()
    gateway.start()
    async with raw(site, gateway, "bob") as bob:
        await join(bob)
        await say(bob, "fresh", GONE + 3)
        async with raw(site, gateway, "alice") as alice:
            back = await join(alice, last=200, epoch=epoch, after=heard)
            assert back.epoch != epoch
            texts = [text for _, text in await pushed(alice, KEPT + GONE + 3)]
            assert texts[KEPT:] == [f"fresh{n}" for n in range(GONE + 3)]


@contextlib.asynccontextmanager
async def raw(site: Site, gateway: GatewayProcess, user: str) -> AsyncIterator[RawClient]:
    """A client that says exactly what the test tells it to."""
    async with RawClient.open(ws(gateway)) as client:
        await client.connect(site.token(user))
        yield client


async def alice_is_back(events: list[object]) -> None:
    """Wait until her room was joined again."""
    await until(lambda: RoomGap("lobby", None) in events, "her room to be joined again", DEADLINE_S)


async def _send(url: str, token: str, count: int) -> None:
    async with Client(url, device="d1", token=token) as alice:
        for n in range(count):
            await alice.send("bob", str(n))


async def _only_close(client: RawClient) -> int:
    """The close code; no frame may come before it."""
    async with asyncio.timeout(ANSWER_S):
        try:
            data = await client.websocket.recv()
        except ConnectionClosed as error:
            assert error.rcvd is not None
            return error.rcvd.code
    raise AssertionError(f"it was shown {data!r}")


async def test_a_device_that_nobody_replaced_may_come_back(settings: Settings) -> None:
    """HP-5.1-12: a device went from one gateway to another, and Redis came back as of a second
    before. The row of the device named its earlier session, so its only connection was closed with
    4503, after which a client must not connect again by itself."""
    async with (
        running_worker(settings) as here,
        running_worker(settings, app=here.app) as there,
        redis.Redis.from_url(here.redis_url) as store,
    ):
        meta = Keys("sg").user(here.app.id, "bob").meta
        async with here.client("bob", "phone") as first:
            before = await store.dump(meta) or b""
            async with there.client("bob", "phone") as second:
                assert await _only_close(first) == codes.REPLACED.number
                await store.restore(meta, 0, before, replace=True)
                for kind in ("normal", "pubsub"):
                    await store.client_kill_filter(_type=kind)
                assert await _only_close(second) == codes.STORE_UNAVAILABLE.number
