"""History of groups: what is kept, who reads it, and when it goes. Over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
import redis
from homeport import frames

from gateway.config import Settings
from gateway.store.conversations import ConversationStore
from gateway.store.keys import Keys
from tests.gateway.chat.grouping import created, done, read, said
from tests.gateway.chat.keeping import chunk, dump, kept, records
from tests.gateway.chat.test_options import send
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RawClient, RunningWorker, until

DAY: float = 24 * 3600


async def denied(client: RawClient, peer: str) -> set[str]:
    """What a reading and a deletion are refused with."""
    reading = await client.refused(frames.History, peer)
    deleting = await client.refused(frames.Forget, peer, 2**53 - 1)
    return {reading.name, deleting.name}


async def page(client: RawClient, group: str, limit: int = 50, **where: int | None) -> list[str]:
    """A page's texts; a notice is what it tells of, in brackets. Nothing of it is lost."""
    page = await client.ask(frames.History, f"g:{group}", limit, **where)
    assert page.lost == 0
    return [shortly(entry.message) for entry in page.entries]


def shortly(message: frames.Message) -> str:
    """A text; or the change that a notice tells of, in brackets."""
    if message.kind != "homeport.group":
        return message.body.decode()
    return f"({msgspec.msgpack.decode(message.body, type=frames.GroupNotice).change})"


async def test_every_member_reads_the_same(gateway: RunningWorker) -> None:
    """HP-13.1-1, HP-13.1-7, HP-13.2-1, HP-13.2-6: each message once, and the notices, under the
    same numbers for all, also to whoever came later; their numbers are dense but for what was kept
    out of the history."""
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
                found = await client.ask(frames.History, f"g:{group}", 50)
                assert [(entry.seq, shortly(entry.message)) for entry in found.entries] == [
                    (6, "three"),
                    (5, "(added)"),
                    (3, "two"),
                    (2, "one"),
                    (1, "(created)"),
                ]
                assert (found.next, found.lost) == (None, 0)
            assert await page(carol, group, 2, after=0) == ["(created)", "one"]
            assert await page(carol, group, 2, after=2) == ["two", "(added)"]
            assert await page(carol, group, after=5) == ["three"]


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
        assert await page(bob, group) == ["secret", "(created)"]
        await done(alice, "remove", group, ["bob"])
        assert await denied(bob, f"g:{group}") == {"not_a_member"}
        await said(alice, group, "more")
        await done(alice, "add", group, ["bob"])
        assert await page(bob, group) == ["(added)", "more", "(removed)", "secret", "(created)"]
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
        assert await page(bob, group) == ["secret", "(created)"]
        await done(alice, "remove", group, ["bob"])
        assert await denied(bob, f"g:{group}") == {"not_a_member"}


async def test_deleting_is_for_oneself(gateway: RunningWorker) -> None:
    """HP-13.3-1 and HP-13.3-2: on all devices of one member, and not for the others."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice, "bob")
        await said(alice, group, "a")
        await said(alice, group, "b")
        await bob.ask(frames.Forget, f"g:{group}", 3)
        await said(alice, group, "c")
        async with gateway.client("bob", "d2") as other:
            assert await page(other, group) == ["c"]
        assert await page(alice, group) == ["c", "b", "a", "(created)"]


async def test_who_just_came_can_delete_what_was_there_before(gateway: RunningWorker) -> None:
    """HP-13.3-1, HP-13.2-6: a new member reads the whole history, so they can delete all of it,
    also what is from before their time in the group."""
    async with gateway.client("alice") as alice, gateway.client("carol") as carol:
        group = await created(alice, "bob")
        await said(alice, group, "before")
        await done(alice, "add", group, ["carol"])
        assert await page(carol, group) == ["(added)", "before", "(created)"]
        await carol.ask(frames.Forget, f"g:{group}", 2)
        assert await page(carol, group) == ["(added)"]
        await carol.ask(frames.Forget, f"g:{group}", 2**53 - 1)
        assert await page(carol, group) == []
        await said(alice, group, "after")
        assert await page(carol, group) == ["after"]


async def test_deleting_outlives_leaving_and_coming_back(gateway: RunningWorker) -> None:
    """HP-13.3-1: the same user, the same conversation, the same numbers."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice, "bob")
        await said(alice, group, "a")
        await bob.ask(frames.Forget, f"g:{group}", 2)
        await done(bob, "leave", group)
        await said(alice, group, "b")
        await done(alice, "add", group, ["bob"])
        await done(bob, "join", group)
        assert await page(bob, group) == ["(joined)", "(added)", "b", "(left)"]


async def test_deleting_does_not_wait_for_a_fan_out(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-13.3-1, G9, G10: a gateway died after it had stored a message and before it told the
    members. One of them reads it in the history and deletes it; their inboxes are made good once,
    and not by each deletion that names a number beyond the last."""
    healed = 0
    heal = ConversationStore.heal

    async def counted(*asked: Any) -> None:
        nonlocal healed
        healed += 1
        await heal(*asked)

    async with two_workers(settings, clock) as (one, _), one.client("alice") as alice:
        group = await created(alice, "bob")
        rows = Keys("sg").inbox(one.app.id, "bob").rows
        with redis.Redis.from_url(one.redis_url) as store:
            behind = store.hget(rows, f"g:{group}")
            await said(alice, group, "a")
            store.hset(rows, f"g:{group}", behind)
        monkeypatch.setattr(ConversationStore, "heal", counted)
        async with one.client("bob") as bob:
            for _ in range(3):
                await bob.ask(frames.Forget, f"g:{group}", 2**53 - 1)
                assert await page(bob, group) == []
        assert healed == 1
        await said(alice, group, "b")
        async with one.client("bob", "d2") as bob:
            assert await page(bob, group) == ["b"]


async def test_history_ends_with_the_tiers_time(gateway: RunningWorker) -> None:
    """HP-13.1-3, HP-13.1-4, HP-13.1-2: to the millisecond; and the sweeper takes the bytes. It is
    free's three days."""
    clock = gateway.clock
    assert clock is not None
    async with gateway.client("alice") as alice:
        group = await created(alice, "bob")
        await said(alice, group, "old")
        before = records(gateway)
        clock.advance(1)
        await send(alice, f"g:{group}", "short", ttl=5)
        await said(alice, group, "young")
    clock.advance(5)
    await gateway.inside.sweep()
    clock.advance(3 * DAY - 6.001)
    async with gateway.client("alice") as alice:
        assert await page(alice, group) == ["young", "old", "(created)"]
        clock.advance(0.001)
        assert await page(alice, group) == ["young"]
        clock.advance(1)
        assert await page(alice, group) == []
        assert all(each in dump(gateway) for each in before)
        clock.advance(15)
        await gateway.inside.sweep()
        assert records(gateway) == []
        assert await said(alice, group, "still there", "another") == "ok"
        assert await page(alice, group) == ["still there"]


@pytest.mark.parametrize("what", ["tier", "app"])
async def test_changes_of_the_app_reach_its_conversations(
    running: RunningWorker, what: str
) -> None:
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
    assert list(kept(running)) == []


async def test_it_goes_with_the_group(gateway: RunningWorker) -> None:
    """HP-13.1-5: at once, but for the notice of it; and another group's stays."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group, other = await created(alice, "bob"), await created(alice, "bob", name="two")
        await said(alice, other, "stays")
        before = records(gateway)
        await said(alice, group, "gone")
        (gone,) = set(records(gateway)) - set(before)
        await done(alice, "delete", group)
        assert gone not in dump(gateway)
        for client in (alice, bob):
            assert await denied(client, f"g:{group}") == {"unknown_group"}
            assert await page(client, other) == ["stays", "(created)"]
    with redis.Redis.from_url(gateway.redis_url) as store:
        assert store.hkeys(chunk(gateway, f"g:{group}")) == [b"3"]


async def test_what_was_under_way_begins_no_other_conversation(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-13.1-5: one has the group in memory and stalls before it stores a message; two deletes the
    group meanwhile."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("alice", "d2") as other,
    ):
        group = await created(alice, "bob")
        assert await said(alice, group, "first") == "ok"
        go = asyncio.Event()
        link, run_then = one.inside.link, one.inside.link.run_then
        held: list[tuple[Any, ...]] = []

        def later(*asked: Any, **more: Any) -> None:
            held.append(asked)
            go_on = asyncio.ensure_future(go.wait())
            go_on.add_done_callback(lambda _: run_then(*asked, **more))

        monkeypatch.setattr(link, "run_then", later)
        sending = asyncio.create_task(said(alice, group, "late"))
        await until(lambda: held)
        await done(other, "delete", group)
        monkeypatch.setattr(link, "run_then", run_then)
        go.set()
        assert await sending == "unknown_group"
        assert len(records(one)) == 1


async def test_ok_waits_for_the_conversation(gateway: RunningWorker) -> None:
    """HP-13.1-1 and G1: a conversation that can't be written to means no ok, and a retry repairs
    it."""
    async with gateway.client("alice") as alice:
        group = await created(alice, "bob")
        messages = chunk(gateway, f"g:{group}")
        with redis.Redis.from_url(gateway.redis_url) as store:
            whole = store.dump(messages)
            store.delete(messages)
            store.set(messages, "in the way")
            assert await said(alice, group, "x", "same") == "internal"
            store.restore(messages, 0, whole, replace=True)
        assert await said(alice, group, "x", "same") == "ok"
        assert await page(alice, group) == ["x", "(created)"]
        await done(alice, "get", group)
