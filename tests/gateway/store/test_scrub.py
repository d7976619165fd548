"""The scrub: what only a lost key led to is found all the same, and nothing else is touched."""

from __future__ import annotations

from typing import Any

from structlog.testing import capture_logs

from gateway.store.scrub import Scrub
from tests.gateway.store.conftest import APP_ID, Store
from tests.gateway.store.test_sweeper import ANN, BOB, FREE_S, Talks, names_of


def scrub_of(store: Store, *gone: str) -> Scrub:
    """A sweeper's, of a region without the apps `gone`."""

    async def app(app_id: str) -> Any:
        return None if app_id in gone else store.app

    return Scrub(store.link, store.keys, app, lambda: store.clock.ms)


async def walk(scrub: Scrub) -> int:
    """Look at all keys, a few of them at a time; returns in how many rounds."""
    rounds = 1
    while not await scrub.round(10):
        rounds += 1
        assert rounds < 10_000
    return rounds


def contents(store: Store) -> dict[bytes, bytes]:
    """Every key with its value, but for clocks, which tell the time, and what a walk counts."""
    names: Any = store.raw.keys()
    return {name: store.raw.dump(name) or b"" for name in names if not _changes(name)}


def _changes(name: bytes) -> bool:
    return name.endswith(b":clock") or b":stored:" in name


async def test_what_is_in_order_is_left_alone(store: Store) -> None:
    """G1: a walk through a region that has lost nothing changes no key, however long its
    conversations are, and between a message and the references to it."""
    talks = Talks(store)
    for n in range(300):
        await talks.say(ANN, BOB if n % 2 else f"user{n}")
    await talks.attach(ANN)
    before = contents(store)
    scrub = scrub_of(store)
    assert await walk(scrub) > 5
    assert contents(store) == before
    assert scrub.lost_keys == 0


async def test_messages_that_a_lost_head_left_are_removed(store: Store) -> None:
    """G4: with the head, which names them, Redis lost the way to a conversation's messages, and
    they stayed in it for ever. The new numbering's are not touched."""
    talks = Talks(store)
    for _ in range(150):
        await talks.say(ANN, BOB, b"CANARY")
    await talks.settle()
    store.raw.delete(talks.head(ANN, BOB))
    await talks.say(ANN, BOB, b"younger")
    scrub = scrub_of(store)
    with capture_logs() as logs:
        await walk(scrub)
    assert not store.holds(b"CANARY")
    assert await talks.history(ANN, BOB) == [1]
    assert scrub.lost_keys == 2  # chunks
    assert {log["event"] for log in logs} == {"redis_lost_keys"}


async def test_a_lost_head_is_seen_by_the_sweeper_too(store: Store) -> None:
    """G3, G4: nobody says anything more in it. What was said goes, and a later message begins
    another numbering, under which nothing old is shown."""
    talks = Talks(store)
    for _ in range(3):
        await talks.say(ANN, BOB, b"CANARY")
    await talks.settle()
    store.raw.delete(talks.head(ANN, BOB))
    store.clock.advance(FREE_S)
    await talks.say(BOB, BOB)  # so that it stays
    await store.sweeper().sweep()
    assert store.holds(b"CANARY")  # nobody has named it
    await walk(scrub_of(store))
    assert not store.holds(b"CANARY")
    assert (await talks.say(ANN, BOB)).seq == 1
    assert await talks.history(ANN, BOB) == [1]


async def test_a_lost_due_list_is_made_anew(store: Store) -> None:
    """G4: the due list of a bucket was lost alone, and nothing in the bucket was swept any more."""
    talks = Talks(store)
    await talks.say(ANN, BOB, b"CANARY")
    await talks.settle()
    for user in (ANN, BOB):
        store.raw.delete(store.keys.inbox(APP_ID, user).due)
    await walk(scrub_of(store))
    store.clock.advance(FREE_S)
    await store.sweeper().sweep()
    assert not store.holds(b"CANARY")
    assert await talks.waiting(BOB) == []


async def test_what_was_written_for_a_deleted_app_is_due_at_once(store: Store) -> None:
    """G4: a gateway that had not heard of the deletion wrote once more, and that stayed for as long
    as the app had kept its messages."""
    talks = Talks(store)
    async with store.admin() as admin:
        await admin.access.revoke(APP_ID, "never-came", store.clock.ms)  # stands in no due list
        await admin.apps.delete(APP_ID)
    await talks.say(ANN, BOB, b"CANARY")
    await talks.settle()
    sweeper = store.sweeper()
    await sweeper.sweep()
    assert store.holds(b"CANARY")
    await walk(scrub_of(store, APP_ID))
    await sweeper.sweep()
    assert not store.holds(b"CANARY")
    assert names_of(store, APP_ID) == []


async def test_a_round_of_the_sweeper_scrubs(store: Store) -> None:
    """G4: it is part of the sweeper's round, and goes by the region's apps."""
    talks = Talks(store)
    await talks.say(ANN, BOB, b"CANARY")
    store.raw.delete(talks.head(ANN, BOB))
    sweeper = store.sweeper()
    await sweeper.look_around()
    assert not store.holds(b"CANARY")
    assert sweeper.lost_keys == 1
