"""Bytes stored: who is refused what, and who is not, through `chat` and real stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from homeport import codes
from homeport.frames import Error

from gateway.apps.tiers import TIERS
from gateway.chat.principal import User
from gateway.chat.refused import Refused
from gateway.store.storage import Storage
from tests.gateway.chat.doors import Door, a_door, code_of, later
from tests.gateway.chat.rooming import join, write
from tests.harness import FakeClock, make_settings, until
from tests.inside import Inside

FREE: Final = TIERS["free"]
APP, SENDER = FREE.app_bytes, FREE.sender_bytes


@pytest.fixture
async def door(store_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Door]:
    """A door to a gateway whose app is of tier free."""
    async with a_door(make_settings(store_url, tmp_path), clock, "free") as opened:
        yield opened


def storage(door: Door) -> Storage:
    """What the gateway counts."""
    return Inside(door.running.worker).limits.storage


def fill(door: Door, size: int, user: str = "") -> None:
    """As if the app, or a user of it as a sender, had stored so many bytes."""
    storage(door).written(door.running.app.id, FREE, user, size)
    if user:  # this is about one quota, and the other has room
        storage(door).went(door.running.app.id, FREE, size)


def fill_for_strangers(door: Door, size: int, user: str = "") -> None:
    """As if so much of it were for users who never connected."""
    storage(door).for_strangers(door.running.app.id, FREE, user, size)
    if user:
        storage(door).for_strangers(door.running.app.id, FREE, "", -size)


async def refused(door: Door, user: User, to: str, text: str = "x") -> dict[str, str]:
    """The details of the storage_full that a send is refused with."""
    with pytest.raises(Refused) as refusal:
        await door.say(user, to, text)
    assert refusal.value.code is codes.STORAGE_FULL
    return refusal.value.details or {}


async def met(door: Door, *users: str) -> None:
    """These have connected once."""
    for user in users:
        async with door.running.client(user):
            pass


async def told_of(door: Door, user: User, to: str, text: str) -> str:
    """The code of a send, once it was looked up who connected."""
    async with asyncio.timeout(5):
        while True:
            code = await code_of(later(lambda: door.say(user, to, text)))
            if code != "rate_limited":
                return code
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("quota", ["sender", "app"])
async def test_who_is_full_is_told_whose_quota_it_is(door: Door, quota: str) -> None:
    """HP-17.5-1: up to the number of the tier, to the byte; then no message is stored."""
    await met(door, "alice", "bob")
    alice, whose = await door.user("alice"), "alice" if quota == "sender" else ""
    most = SENDER if quota == "sender" else APP
    fill(door, most - 20_000, whose)
    assert await code_of(later(lambda: door.say(alice, "bob", "fits" * 100))) == "ok"
    fill(door, 20_000, whose)
    assert await refused(door, alice, "bob") == {"quota": quota}
    assert await door.texts(alice, "bob") == ["fits" * 100]


async def test_a_full_sender_is_alone(door: Door) -> None:
    """HP-17.5-1: others of the same app have their own quota."""
    await met(door, "alice", "bob")
    alice, bob = await door.user("alice"), await door.user("bob")
    fill(door, SENDER, "alice")
    await refused(door, alice, "bob")
    assert await code_of(later(lambda: door.say(bob, "alice", "y"))) == "ok"


async def test_a_full_app_stores_nothing_more(door: Door) -> None:
    """HP-17.5-1: every request that makes Redis keep something is refused, whoever asks."""
    await met(door, "alice", "bob")
    alice, app = await door.user("alice"), await door.app()
    group = await door.chat.groups.create(alice, "g", "team", ["bob"])
    _, seq = await door.say(alice, "bob", "text")
    fill(door, APP)
    chat, text = door.chat, b"z"
    for request in (
        lambda: door.say(alice, "bob", "x"),
        lambda: door.say(alice, f"g:{group}", "x"),
        lambda: door.say(alice, "r:hall", "x"),
        lambda: chat.recalls.edit(alice, "bob", seq, text),
        lambda: chat.groups.create(alice, "h", "more", ["bob"]),
        lambda: chat.groups.create(app, "i", "more", ["bob"]),
        lambda: chat.groups.add(alice, group, ["carol"]),
        lambda: chat.groups.rename(alice, group, "new"),
        lambda: chat.rooms.set(alice, "mine", "everyone", []),
        lambda: chat.rooms.set(app, "mine", "everyone", []),
    ):
        assert await code_of(later(request)) == "storage_full"


async def test_what_frees_or_protects_goes_on(door: Door) -> None:
    """HP-17.5-4: and from then on there is room again."""
    await met(door, "alice", "bob", "carol")
    alice, bob = await door.user("alice"), await door.user("bob")
    chat = door.chat
    group = await chat.groups.create(alice, "g", "team", ["bob", "carol"])
    _, seq = await door.say(alice, "bob", "text")
    fill(door, APP)
    fill(door, SENDER, "alice")
    await door.texts(bob, "alice")
    await chat.recalls.recall(alice, "bob", seq)
    await chat.blocks.block(bob, "alice")
    await chat.groups.remove(alice, group, ["carol"])
    await chat.groups.leave(bob, group)
    await chat.groups.delete(alice, group)
    await met(door, "dave")


async def test_a_full_app_can_join_rooms(door: Door) -> None:
    """HP-17.5-4: who only listens leaves nothing behind."""
    async with door.running.client("alice") as alice, door.running.client("bob") as bob:
        await join(alice, "hall")
        fill(door, APP)
        await join(bob, "hall")
        answer = await write(bob, "x", "hall")
        assert isinstance(answer, Error)
        assert answer.code == codes.STORAGE_FULL.number
        assert answer.details == {"quota": "app"}


async def test_a_repeat_is_answered_as_the_first(door: Door) -> None:
    """HP-17.5-3: its client lost the answer, and the quota became full since."""
    await met(door, "alice", "bob")
    alice = await door.user("alice")
    group = await door.chat.groups.create(alice, "g", "team", ["bob"])
    first = await door.say(alice, "bob", "text")
    to_group = await door.say(alice, f"g:{group}", "words")
    fill(door, SENDER, "alice")
    assert await door.say(alice, "bob", "text") == first
    assert await door.say(alice, f"g:{group}", "words") == to_group
    await refused(door, alice, "bob")
    await refused(door, alice, f"g:{group}")


@pytest.mark.parametrize("quota", ["sender", "app"])
async def test_there_is_less_room_for_strangers(door: Door, quota: str) -> None:
    """HP-17.5-2: a sixteenth; who has connected is sent everything meanwhile."""
    await met(door, "alice", "bob")
    alice, whose = await door.user("alice"), "alice" if quota == "sender" else ""
    most = SENDER if quota == "sender" else APP
    assert await told_of(door, alice, "eve", "one") == "ok"
    fill_for_strangers(door, most // 16, whose)
    assert await told_of(door, alice, "eve", "two") == "storage_full"
    assert await refused(door, alice, "eve") == {"quota": quota, "of": "never_connected"}
    assert await told_of(door, alice, "bob", "two") == "ok"
    # Whoever was asked for first by a process is looked up.
    await met(door, "eve")


async def test_a_group_with_a_stranger_is_as_one(door: Door) -> None:
    """HP-17.5-2: it made 523 MB of 5 MB: 99 users who never were, and bodies of 8 KiB."""
    await met(door, "alice", "bob")
    alice, groups = await door.user("alice"), door.chat.groups
    strange = await groups.create(alice, "g", "team", [f"never-{n}" for n in range(99)])
    known = await groups.create(alice, "h", "team", ["bob"])
    sent = 0
    while (await told_of(door, alice, f"g:{strange}", f"{sent:08}" * 1000)) == "ok":
        sent += 1
        assert sent < 500
        door.clock.advance(10)  # and the buckets are full again
    assert 40 < sent < 120, "about a sixteenth of 16 MiB"
    assert await told_of(door, alice, f"g:{strange}", "x") == "storage_full"
    assert await told_of(door, alice, f"g:{known}", "x") == "ok"
    assert await code_of(groups.add(alice, known, ["never-7"])) in ("storage_full", "rate_limited")
    assert await code_of(groups.add(alice, known, ["never-8"])) in ("storage_full", "rate_limited")


async def test_a_larger_tier_makes_room_at_once(door: Door) -> None:
    """HP-17.5-7."""
    await met(door, "alice", "bob")
    alice = await door.user("alice")
    fill(door, APP)
    await refused(door, alice, "bob")
    async with door.running.admin() as admin:
        now_ms = await admin.region.now_ms()
        await admin.apps.change(door.running.app.id, "tier", "basic", now_ms)

    await until(lambda: alice.app.tier.name == "basic")
    assert await code_of(later(lambda: door.say(alice, "bob", "more"))) == "ok"
