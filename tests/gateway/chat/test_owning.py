"""Mirrors gateway/chat/owning.py: how many groups and rooms a user may make."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
from homeport.ids import GROUP

from gateway.apps.tiers import TIERS
from gateway.config import Settings
from gateway.store.owned import OwnedStore
from tests.gateway.chat.doors import Door, a_door, code_of
from tests.harness import FakeClock


@pytest.fixture
async def door(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Door]:
    """A door to a gateway where a user may make three groups and two rooms."""
    small = dataclasses.replace(TIERS["pro"], own_groups=3, own_rooms=2)
    monkeypatch.setitem(TIERS, "pro", small)
    async with a_door(settings, clock, "pro") as one:
        yield one


async def test_a_user_makes_so_many_groups(door: Door) -> None:
    """HP-11.1-6: a repeated request counts once, and a group that is gone makes room, whoever
    deleted it; to hand one over does not, or one user could fill the count of another."""
    groups, alice, bob = door.chat.groups, await door.user("alice"), await door.user("bob")
    made = [await groups.create(alice, f"c{n}", "team", ["bob"]) for n in (1, 2, 3, 3)]
    assert await code_of(groups.create(alice, "c4", "team", [])) == "too_many_groups"
    await groups.set_role(alice, made[0], "bob", "owner")
    assert await code_of(groups.create(alice, "c4", "team", [])) == "too_many_groups"
    assert await code_of(groups.create(bob, "c4", "team", [])) == "ok"
    await groups.delete(bob, made[0])
    assert await code_of(groups.create(alice, "c4", "team", [])) == "ok"
    assert await code_of(groups.create(alice, "c5", "team", [])) == "too_many_groups"
    assert await code_of(groups.create(await door.app(), "c6", "team", ["alice"])) == "ok"


async def test_what_was_never_made_makes_room(door: Door) -> None:
    """HP-11.1-6, G10: a gateway noted a group and died before it made it."""
    app, alice = door.running.app, await door.user("alice")
    for n in range(3):
        owned = OwnedStore(door.running.inside.link, door.running.inside.keys)
        assert await owned.add(app, "alice", GROUP, f"{n:032x}", door.clock.ms)
    assert await code_of(door.chat.groups.create(alice, "c1", "team", [])) == "ok"


async def test_a_user_makes_so_many_rooms(door: Door) -> None:
    """HP-15.4-5: and a refused roomset, for a room of somebody else, counts for nothing."""
    rooms, alice, bob = door.chat.rooms, await door.user("alice"), await door.user("bob")
    await rooms.set(bob, "bobs", "everyone", [])
    for _ in range(3):
        assert await code_of(rooms.set(alice, "bobs", "everyone", [])) == "not_room_creator"
    for room in ("one", "two", "two"):
        await rooms.set(alice, room, "everyone", [])
    assert await code_of(rooms.set(alice, "three", "everyone", [])) == "too_many_own_rooms"
    await rooms.set(await door.app(), "three", "everyone", [])
    async with door.running.admin() as admin:
        await admin.access.set_room(door.running.app.id, "one", "admins", ["bob"], claim=True)
    assert await code_of(rooms.set(alice, "one", "everyone", [])) == "not_room_creator"
    assert await code_of(rooms.set(alice, "four", "everyone", [])) == "ok"


async def test_to_look_what_is_gone_is_paid_for(door: Door) -> None:
    """HP-17.1-1, G9: whoever is refused again and again has each look at the list cost them."""
    groups, alice = door.chat.groups, await door.user("alice")
    for n in range(3):
        await groups.create(alice, f"c{n}", "team", [])
    names = [f"{n:032x}" for n in range(400)]
    link, keys, app = door.running.inside.link, door.running.inside.keys, door.running.app
    await link.call("SADD", keys.user(app.id, "alice").groups, *names)
    for name in names:
        await link.call("HSET", keys.group(app.id, name).state, "v", 1)
    before = alice.allowance.paid
    assert await code_of(groups.create(alice, "c9", "team", [])) == "too_many_groups"
    assert alice.allowance.paid - before == 2 + 403 // 4


async def test_a_deleted_app_leaves_no_list(door: Door) -> None:
    """HP-11.1-5: what users made goes with the app."""
    app, alice = door.running.app, await door.user("alice")
    await door.chat.groups.create(alice, "c1", "team", [])
    await door.chat.rooms.set(alice, "hall", "everyone", [])
    names = door.running.inside.keys.user(app.id, "alice")
    link = door.running.inside.link
    assert await link.call("EXISTS", names.groups) + await link.call("EXISTS", names.rooms) == 2
    await door.running.inside.inboxes.sweep(app.id, "alice", door.clock.ms, 0, 0)
    assert await link.call("EXISTS", names.groups) + await link.call("EXISTS", names.rooms) == 0
