"""History of groups: what is kept, who reads it, and when it goes. Over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
from homeport import frames
from homeport.frames import Place

from gateway.config import Settings
from gateway.store.keys import Keys
from gateway.store.log import LogStore
from tests.gateway.chat.grouping import created, done, read, said
from tests.gateway.chat.test_history import DAY, page
from tests.gateway.chat.test_options import dump, send
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RawClient, RunningWorker, until


async def denied(client: RawClient, peer: str) -> set[str]:
    """What a reading and a deletion are refused with."""
    reading = await client.refused(frames.History, peer)
    deleting = await client.refused(frames.Forget, peer, Place(2**53 - 1, 1))
    return {reading.name, deleting.name}


def logged(gateway: RunningWorker, group: str) -> list[bytes]:
    """The sealed records of a group's log."""
    log = Keys("sg").log(gateway.app.id, f"g:{group}").log
    with redis.Redis.from_url(gateway.redis_url) as store:
        return [fields[b"m"] for _, fields in store.xrange(log)]


async def test_every_member_reads_the_same(gateway: RunningWorker) -> None:
    """HP-13.1-1, HP-13.2-1, HP-13.2-6: each message once, no notice, also to who came later."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice, "bob")
        assert await said(alice, group, "one", "same") == "ok"
        assert await said(bob, group, "two") == "ok"
        assert await said(alice, group, "one", "same") == "ok"
        await send(alice, f"g:{group}", "off the record", history=False)
        await done(alice, "add", group, ["carol"])
        assert await said(alice, group, "three") == "ok"
        async with gateway.client("carol") as carol:
            assert await read(carol) == ["added alice carol team", "three"]
            for client in (alice, bob, carol):
                texts, places, following = await page(client, f"g:{group}")
                assert (texts, following) == (["three", "two", "one"], None)
                assert [place.seq for place in places] == [3, 2, 1]
            texts, _, following = await page(carol, f"g:{group}", 2, after=Place(0, 0))
            assert texts == ["one", "two"]
            assert (await page(carol, f"g:{group}", after=following))[0] == ["three"]


async def test_who_is_not_in_it_learns_nothing(gateway: RunningWorker) -> None:
    """HP-13.2-6, HP-13.2-4: before, after, and never; of no such group; of no such name."""
    async with (
        gateway.client("alice") as alice,
        gateway.client("bob") as bob,
        gateway.client("eve") as eve,
    ):
        group = await created(alice, "bob")
        await said(alice, group, "secret")
        assert await denied(eve, f"g:{group}") == {"not_a_member"}
        assert (await page(bob, f"g:{group}"))[0] == ["secret"]
        await done(alice, "remove", group, ["bob"])
        assert await denied(bob, f"g:{group}") == {"not_a_member"}
        await said(alice, group, "more")
        await done(alice, "add", group, ["bob"])
        assert (await page(bob, f"g:{group}"))[0] == ["more", "secret"]
        assert await denied(alice, "g:" + "0" * 32) == {"unknown_group"}
        for peer in ("g:", "g:x", f"g:{group.upper()}", f"G:{group}", f"d:g:{group}"):
            assert await denied(alice, peer) == {"unknown_recipient"}


async def test_a_gateway_with_an_old_list_shows_nothing(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-13.2-6: two has the group in memory; one removes bob, and two refuses him."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("bob") as bob,
    ):
        group = await created(alice, "bob")
        await said(alice, group, "secret")
        assert (await page(bob, f"g:{group}"))[0] == ["secret"]
        await done(alice, "remove", group, ["bob"])
        assert await denied(bob, f"g:{group}") == {"not_a_member"}


async def test_deleting_is_for_oneself(gateway: RunningWorker) -> None:
    """HP-13.3-1 and HP-13.3-2: on all devices of one member, and not for the others."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice, "bob")
        await said(alice, group, "a")
        await said(alice, group, "b")
        _, places, _ = await page(bob, f"g:{group}")
        await bob.ask(frames.Forget, f"g:{group}", places[0])
        await said(alice, group, "c")
        async with gateway.client("bob", "d2") as other:
            assert (await page(other, f"g:{group}"))[0] == ["c"]
        assert (await page(alice, f"g:{group}"))[0] == ["c", "b", "a"]


async def test_history_ends_with_the_tiers_time(gateway: RunningWorker) -> None:
    """HP-13.1-3, HP-13.1-4, HP-13.1-2: to the millisecond; and the sweeper takes the bytes.

    It is free's three days. What stands in the due list for the group itself is left alone.
    """
    clock = gateway.clock
    assert clock is not None
    async with gateway.client("alice") as alice:
        group = await created(alice, "bob")
        await said(alice, group, "old")
        old = logged(gateway, group)[0]
        clock.advance(1)
        await send(alice, f"g:{group}", "short", ttl=5)
        await said(alice, group, "young")
    clock.advance(5)
    await gateway.inside.sweep()
    clock.advance(3 * DAY - 6.001)
    async with gateway.client("alice") as alice:
        assert (await page(alice, f"g:{group}"))[0] == ["young", "old"]
        clock.advance(0.001)
        assert (await page(alice, f"g:{group}"))[0] == ["young"]
        assert old in dump(gateway)
        await gateway.inside.sweep()
        assert old not in dump(gateway)
        clock.advance(1.001)  # "short" took the millisecond before "young" (HP-14.1-2)
        await gateway.inside.sweep()
        with redis.Redis.from_url(gateway.redis_url) as store:
            assert [key for key in store.scan_iter() if b":log" in key] == []
            due = Keys("sg").group(gateway.app.id, group)
            # Some group lies in the bucket of one of its users, whose inbox is due there too.
            users = (b":alice", b":bob")
            left = [member for member in store.zrange(due.due, 0, -1) if not member.endswith(users)]
            assert left == [due.member.encode()]
        assert await said(alice, group, "still there", "another") == "ok"
        assert (await page(alice, f"g:{group}"))[0] == ["still there"]


@pytest.mark.parametrize("what", ["tier", "app"])
async def test_changes_of_the_app_reach_its_logs(running: RunningWorker, what: str) -> None:
    """HP-13.1-4: a downgrade sweeps what is now too old, a deletion all, in the next round."""
    clock = running.clock
    assert clock is not None
    async with running.client("alice") as alice:
        group = await created(alice, "bob")
        await said(alice, group, "x")
    clock.advance(4 * DAY)
    async with running.admin() as admin:
        if what == "tier":
            await admin.apps.change(running.app.id, "tier", "free", clock.ms)
        else:
            await admin.apps.delete(running.app.id)
    await running.inside.sweep()
    with redis.Redis.from_url(running.redis_url) as store:
        assert [key for key in store.scan_iter() if b":log" in key] == []


async def test_it_goes_with_the_group(gateway: RunningWorker) -> None:
    """HP-13.1-5: at once, with its place in the due list; and another group's stays."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group, other = await created(alice, "bob"), await created(alice, "bob", name="two")
        await said(alice, group, "gone")
        await said(alice, other, "stays")
        await done(alice, "delete", group)
        for client in (alice, bob):
            assert await denied(client, f"g:{group}") == {"unknown_group"}
            assert (await page(client, f"g:{other}"))[0] == ["stays"]
    keys = Keys("sg").log(gateway.app.id, f"g:{group}")
    with redis.Redis.from_url(gateway.redis_url) as store:
        assert store.exists(keys.log, keys.meta) == 0
        assert store.zscore(keys.due, keys.member) is None


async def test_what_was_under_way_begins_no_other_log(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-13.1-5: one stalls between the question and the fan-out; two deletes the group."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("alice", "d2") as other,
    ):
        group = await created(alice, "bob")
        stalled: list[asyncio.Future[int]] = []
        add = LogStore.add

        def later(logs: LogStore, *arguments: Any) -> asyncio.Future[int]:
            accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            accepted.add_done_callback(
                lambda _: add(logs, *arguments).add_done_callback(kept.set_result)
            )
            stalled.append(accepted)
            return accepted

        kept: asyncio.Future[asyncio.Future[int]] = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(LogStore, "add", later)
        sending = asyncio.create_task(said(alice, group, "late"))
        await until(lambda: stalled)
        await done(other, "delete", group)
        stalled[0].set_result(clock.ms)
        await sending
        assert int((await kept).result()) == clock.ms
    with redis.Redis.from_url(one.redis_url) as store:
        assert [key for key in store.scan_iter() if b":log" in key] == []


async def test_ok_waits_for_history(gateway: RunningWorker) -> None:
    """HP-13.1-1 and G1: a log that can't be written to means no ok, and a retry repairs it."""
    async with gateway.client("alice") as alice:
        group = await created(alice, "bob")
        log = Keys("sg").log(gateway.app.id, f"g:{group}").log
        with redis.Redis.from_url(gateway.redis_url) as store:
            store.set(log, "in the way")
            assert await said(alice, group, "x", "same") == "internal"
            store.delete(log)
        assert await said(alice, group, "x", "same") == "ok"
        assert (await page(alice, f"g:{group}"))[0] == ["x"]
        await done(alice, "get", group)
