"""Mirrors gateway/chat/group_sends.py: by the list in memory, and in order where it is old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.chat import group_sends
from gateway.chat.principal import User
from gateway.config import Settings
from gateway.redis.errors import Unavailable
from gateway.redis.scripts import SCRIPTS
from gateway.store.conversations import ConversationStore
from gateway.store.entries import Stored
from tests.gateway.chat.doors import Door, a_door, code_of
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock


@contextlib.asynccontextmanager
async def doors(settings: Settings, clock: FakeClock) -> AsyncIterator[tuple[Door, Door]]:
    """Doors of two gateways, with nobody connected."""
    async with (
        two_workers(settings, clock) as workers,
        contextlib.AsyncExitStack() as opened,
    ):
        one, two = (Door(each, each.inside.chat, opened) for each in workers)
        yield one, two


def send(door: Door, who: User, group: str, text: str) -> asyncio.Future[Stored]:
    """Send a text that names itself."""
    _, stored = door.chat.messages.send(who, text, f"g:{group}", "text", text.encode())
    return stored


def count(door: Door, patch: pytest.MonkeyPatch) -> list[str]:
    """The scripts that this gateway calls from now on."""
    link, calls = door.running.inside.link, []
    names = {script.sha: name for name, script in SCRIPTS.items()}
    run_then, run_packed = link.run_then, link.run_packed

    def run_one(then: Any, script: Any, *said: Any, **options: Any) -> None:
        calls.append(names[script.sha])
        run_then(then, script, *said, **options)

    def packed(then: Any, command: bytes, *said: Any, **options: Any) -> None:
        calls.append(next(name for sha, name in names.items() if sha.encode() in command))
        run_packed(then, command, *said, **options)

    patch.setattr(link, "run_then", run_one)
    patch.setattr(link, "run_packed", packed)
    return calls


async def test_the_group_is_read_only_where_the_list_in_memory_is_old(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: a send is one call of the conversation, and one for each bucket with a member."""
    async with doors(settings, clock) as (one, two):
        alice, elsewhere = await one.user("alice"), await two.user("alice")
        group = await one.chat.groups.create(alice, "c", "team", ["bob"])
        calls = count(two, monkeypatch)
        await send(two, elsewhere, group, "1")
        fan_out = ["conversation_send", "references", "references"]
        assert calls == ["group_read", *fan_out]
        calls.clear()
        await send(two, elsewhere, group, "2")
        assert calls == fan_out
        calls.clear()
        await one.chat.groups.rename(alice, group, "crew")
        await send(two, elsewhere, group, "3")
        assert calls == ["conversation_send", "group_read", *fan_out]


async def test_a_burst_by_an_old_list_keeps_its_order(settings: Settings, clock: FakeClock) -> None:
    """G3: all of it comes back, and goes again; what was sent meanwhile stands behind it."""
    async with doors(settings, clock) as (one, two):
        alice, elsewhere = await one.user("alice"), await two.user("alice")
        bob = await two.user("bob")
        group = await one.chat.groups.create(alice, "c", "team", ["bob"])
        await send(two, elsewhere, group, "before")
        for turn in range(5):
            await one.chat.groups.rename(alice, group, f"crew {turn}")
            sent = []
            for number in range(30):
                who = bob if number % 3 == 0 else elsewhere
                sent.append(send(two, who, group, f"{turn} {number}"))
                if number % 4 == 0:
                    await asyncio.sleep(0)
            seqs = [each.seq for each in await asyncio.gather(*sent)]
            assert seqs == list(range(seqs[0], seqs[0] + 30))


async def test_who_sends_as_the_new_list_comes_is_behind_what_went_by_the_old_one(
    settings: Settings, clock: FakeClock
) -> None:
    """G3: something else reads the group; between its question and its answer a message leaves by
    the old list; the next one is sent as the new list is there, before the first came back."""
    async with doors(settings, clock) as (one, two):
        alice, elsewhere = await one.user("alice"), await two.user("alice")
        group = await one.chat.groups.create(alice, "c", "team", ["bob"])
        await send(two, elsewhere, group, "before")
        await one.chat.groups.rename(alice, group, "crew")
        sent: list[asyncio.Future[Stored]] = []
        read = two.running.inside.groups.current(two.running.app, group)
        read.add_done_callback(lambda _: sent.append(send(two, elsewhere, group, "second")))
        first = send(two, elsewhere, group, "first")
        await read
        await asyncio.sleep(0)
        (second,) = sent
        assert (await first).seq + 1 == (await second).seq


async def test_whoever_was_added_or_unmuted_elsewhere_may_send_at_once(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-11.2-6: the list in memory refuses them, and is not the last word; nor is a read that had
    begun before they were added."""
    async with doors(settings, clock) as (one, two):
        alice = await one.user("alice")
        bob, mallory = await two.user("bob"), await two.user("mallory")
        group = await one.chat.groups.create(alice, "c", "team", [])
        for turn in range(3):
            refused = send(two, mallory, group, f"{turn}")
            await one.chat.groups.add(alice, group, ["bob"])
            assert await code_of(send(two, bob, group, f"hello {turn}")) == "ok"
            assert await code_of(refused) == "not_a_member"
            await one.chat.groups.mute(alice, group, "bob", muted=True)
            assert await code_of(send(two, bob, group, f"hush {turn}")) == "muted"
            await one.chat.groups.mute(alice, group, "bob", muted=False)
            assert await code_of(send(two, bob, group, f"again {turn}")) == "ok"
            await one.chat.groups.remove(alice, group, ["bob"])
            assert await code_of(send(two, bob, group, f"out {turn}")) == "not_a_member"


async def test_a_read_that_began_before_a_member_was_added_refuses_nobody(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-11.2-6: mallory's refused message has the group read; Redis answers, and the answer is
    long on its way; bob is added and sends, and waits behind it. It says that bob is no member."""
    async with doors(settings, clock) as (one, two):
        alice = await one.user("alice")
        bob, mallory = await two.user("bob"), await two.user("mallory")
        group = await one.chat.groups.create(alice, "c", "team", [])
        link = two.running.inside.link
        run_then, arrived = link.run_then, asyncio.Event()
        late: list[Callable[[], None]] = []

        def slow(then: Any, script: Any, *said: Any, **options: Any) -> None:
            def answered(reply: Any) -> None:
                late.append(lambda: then(reply))
                arrived.set()

            run_then(answered, script, *said, **options)

        monkeypatch.setattr(link, "run_then", slow)
        refused = send(two, mallory, group, "x")
        await arrived.wait()
        monkeypatch.undo()
        await one.chat.groups.add(alice, group, ["bob"])
        welcome = send(two, bob, group, "hello")
        late.pop()()
        assert await code_of(welcome) == "ok"
        assert await code_of(refused) == "not_a_member"


async def test_a_group_that_changes_all_the_time_is_unavailable_at_last(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: a message is tried so many times, not for ever; then it may be sent again."""
    async with doors(settings, clock) as (one, _):
        alice = await one.user("alice")
        group = await one.chat.groups.create(alice, "c", "team", [])
        tried, store_send = [], ConversationStore.send

        def never(self: Any, app_id: str, tier: Any, to: Any, entry: Any) -> Any:
            tried.append(entry)
            return store_send(self, app_id, tier, to._replace(version="1"), entry)

        with monkeypatch.context() as patch:
            patch.setattr(ConversationStore, "send", never)
            assert await code_of(send(one, alice, group, "x")) == "unavailable"
        assert len(tried) == 1 + group_sends.ATTEMPTS
        assert await code_of(send(one, alice, group, "x")) == "ok"


async def test_while_the_group_cannot_be_read_all_who_wait_are_told(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1: and nothing waits for ever; afterwards it goes on."""
    async with doors(settings, clock) as (one, two):
        alice, elsewhere = await one.user("alice"), await two.user("alice")
        group = await one.chat.groups.create(alice, "c", "team", [])
        link = two.running.inside.link
        with monkeypatch.context() as patch:
            patch.setattr(link, "run_then", lambda then, *_, **__: then(Unavailable("test")))
            sent = [send(two, elsewhere, group, str(number)) for number in range(3)]
            assert [await code_of(each) for each in sent] == ["unavailable"] * 3
        sent = [send(two, elsewhere, group, str(number)) for number in range(3)]
        assert [(await each).seq for each in sent] == [2, 3, 4]


async def test_nobody_is_told_that_a_cancelled_message_costs_too_much(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.1-2: its caller had gone when the group was read and its price known; the refusal of it
    failed, and held up who came behind."""
    errors = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with doors(settings, clock) as (one, two):
        names = [f"m{n}" for n in range(79)]
        group = await one.chat.groups.create(await one.user("alice"), "c", "team", names)
        alice, tier = await two.user("alice"), two.running.app.tier
        alice.allowance.pay(tier, tier.user.burst - 5)
        send(two, alice, group, "1").cancel()
        assert (await send(two, await two.user("m1"), group, "2")).seq == 2
    assert not errors


async def test_a_door_finds_a_group_that_it_has_not_in_memory(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-11.2-3: there is none, or the sender is not in it."""
    async with a_door(settings, clock, "free") as door:
        alice, bob = await door.user("alice"), await door.user("bob")
        group = await door.chat.groups.create(alice, "c", "team", [])
        assert await code_of(send(door, bob, group, "x")) == "not_a_member"
        assert await code_of(send(door, bob, "0" * 32, "x")) == "unknown_group"
        await door.chat.groups.delete(alice, group)
        assert await code_of(send(door, alice, group, "x")) == "unknown_group"
