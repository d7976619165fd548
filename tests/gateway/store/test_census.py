"""Mirrors gateway/store/census.py: what a walk through all keys finds of each app."""

from __future__ import annotations

from dataclasses import replace

from gateway.store.app_facts import AppFacts, app_facts
from gateway.store.group_state import Change, Member
from gateway.store.groups import GroupStore
from gateway.store.rooms import THE_APP, RoomStore
from gateway.store.scrub import Scrub
from tests.gateway.store.conftest import APP_ID, Store
from tests.gateway.store.test_scrub import scrub_of, walk
from tests.gateway.store.test_storage import FREE, Process, told


async def facts(store: Store) -> AppFacts:
    """What an operator is shown of the app."""
    (found,) = await app_facts(store.link, store.keys, [store.app], store.clock.ms)
    return found


async def live(store: Store) -> Process:
    """Three users, a group and a room."""
    process = Process.at(store)
    process.hold()
    for user in ("ann", "bob", "cid"):
        await store.attach(user)
    await process.say("bob")
    groups = GroupStore(store.link, store.keys, process.talks, lambda: store.clock.ms)
    members: dict[str, Member | None] = {"ann": Member("owner"), "bob": Member("member")}
    notice = replace(process.entry(100, ""), flags=0)
    version = groups.next_version(None)
    assert await groups.change(
        store.app, "ab" * 16, None, Change(members=members), version, notice, maker="ann"
    )
    rooms = RoomStore(store.link, store.keys, process.storage)
    await rooms.set(store.app, "hall", THE_APP, "everyone", [], store.clock.ms)
    await process.storage.settle()
    return process


async def test_a_walk_counts_users_groups_and_rooms(store: Store) -> None:
    """An operator sees what an app has, without a walk at each question."""
    await live(store)
    assert (await facts(store)).users is None
    await walk(scrub_of(store))
    found = await facts(store)
    assert (found.users, found.groups, found.rooms) == (3, 1, 1)
    assert found.counted_ms == store.clock.ms
    assert found.bytes == (await told(store))[0] > 0


async def test_a_walk_puts_the_count_right(store: Store) -> None:
    """HP-17.5-6: what a killed gateway had not told counts after the next walk, and what has gone
    counts no longer. The count of messages is left alone."""
    process = await live(store)
    scrub = scrub_of(store)
    await walk(scrub)  # what was made before it counts twice
    await walk(scrub)
    right, _ = await told(store)
    process.storage.made(APP_ID, FREE, "", 1_000_000)  # counted, and never there
    await process.storage.settle()
    assert (await told(store))[0] == right + 1_000_000
    await walk(scrub)  # what was made since the walk before stays on top
    await walk(scrub)
    assert (await told(store))[0] == right
    key = store.keys.stored(APP_ID, "")
    store.raw.hset(key, "s", 0)
    await walk(scrub)
    assert (await told(store))[0] == right


async def test_a_walk_that_is_broken_off_counts_nothing(store: Store) -> None:
    """Another gateway takes over, and begins anew: nothing is counted twice."""
    await live(store)
    await walk(scrub_of(store))
    await walk(scrub_of(store))
    right, _ = await told(store)
    broken: Scrub = scrub_of(store)
    await broken.round(1)
    await walk(scrub_of(store))
    assert (await told(store))[0] == right
