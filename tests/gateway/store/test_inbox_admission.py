"""How many devices of a user are let in: inbox_attach.lua, on both kinds of store."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from homeport.frames import Cursor

from gateway.store import events
from gateway.store.inbox import SEEN_MS, STALE_MS, Standing
from gateway.store.readers import DISPLACED, Arrival, Reader, TooManyDevices
from tests.gateway.store.conftest import Store, session


async def connect(
    store: Store, device: str, platform: str = "ios", most: int = 2, policy: str = "replace"
) -> Standing:
    """Attach a device of ann's as the session of its name, where `most` are let in."""
    attached = await store.inboxes.attach(
        Reader(store.app.id, "ann", device, session(device)),
        replace(store.app.tier, devices=most),
        Arrival(store.clock.ms, platform=platform),
        store.clock.ms,
        policy,
    )
    store.clock.advance(1)
    return attached


def holders(store: Store) -> dict[str, str]:
    """Who has each device: "-" where nobody has."""
    rows = {name[2:]: row for name, row in store.meta("ann").items() if name.startswith("d:")}
    return {name: row.split(" ")[2].rstrip("0") or "-" for name, row in rows.items()}


async def test_as_many_as_the_tier_allows(store: Store) -> None:
    """HP-19.1-1: of any platforms; another user's do not count."""
    await connect(store, "a")
    await connect(store, "b", "web")
    await store.attach("bob", "x")
    assert holders(store) == {"a": "a", "b": "b"}


@pytest.mark.parametrize("platform", ["ios", "", "a b  c", "été\n!", "1 2 3"])
async def test_the_oldest_of_the_platform_makes_room(store: Store, platform: str) -> None:
    """HP-19.1-2, HP-19.1-6: it is told on the channel, and its row keeps its cursor."""
    await store.fill("ann", 1)
    await connect(store, "old-web", "web", 3)
    first = await connect(store, "b", platform, 3)
    await connect(store, "a", platform, 3)
    await store.ack("ann", Cursor(first.start.epoch, first.references[0].time_ms, 1), "b", "b")
    channel = store.keys.user(store.app.id, "ann").channel
    async with store.hearing(channel) as heard:
        await connect(store, "new", platform, 3)
        name, payload = await heard.get()
        assert (name.decode(), events.parse(payload)) == (channel, events.Displaced(session("b")))
    assert holders(store) == {"old-web": "old-web", "b": DISPLACED, "a": "a", "new": "new"}
    assert store.meta("ann")["d:b"].split(" ")[0] == "1"
    assert store.meta("ann")["d:b"].endswith(f" {platform}")


async def test_no_other_platform_makes_room(store: Store) -> None:
    """HP-19.1-3, HP-19.1-4: refused, and nothing is written."""
    await connect(store, "a", "ios")
    await connect(store, "b", "iOS")
    before = store.meta("ann"), store.due("ann")
    with pytest.raises(TooManyDevices):
        await connect(store, "c", "web")
    assert (store.meta("ann"), store.due("ann")) == before


async def test_the_policy_refuse(store: Store) -> None:
    """HP-19.1-3, HP-19.1-4: also where one of the platform could make room."""
    await connect(store, "a")
    await connect(store, "b")
    before = store.meta("ann")
    with pytest.raises(TooManyDevices):
        await connect(store, "c", policy="refuse")
    assert store.meta("ann") == before


@pytest.mark.parametrize("policy", ["replace", "refuse"])
async def test_a_device_takes_its_own_place(store: Store, policy: str) -> None:
    """HP-19.1-5: though its session before has not closed."""
    for device in ("a", "b", "a", "b", "b", "a"):
        await connect(store, device, policy=policy)
    assert holders(store) == {"a": "a", "b": "b"}


async def test_what_counts_is_who_connected_first(store: Store) -> None:
    """HP-19.1-2: not who was heard of last; connecting again makes a device the youngest."""
    await connect(store, "a")
    cursor = (await connect(store, "b")).start
    await connect(store, "a")
    await store.ack("ann", cursor, "b", "b")
    await connect(store, "c")
    assert holders(store) == {"a": "a", "b": DISPLACED, "c": "c"}


async def test_a_device_that_left_does_not_count(store: Store) -> None:
    """HP-19.1-1."""
    cursor = (await connect(store, "a")).start
    await connect(store, "b")
    await store.ack("ann", cursor, "a", "a", closing=True)
    await connect(store, "c", policy="refuse")
    assert holders(store) == {"a": "-", "b": "b", "c": "c"}


async def test_the_late_words_of_one_that_made_room_change_nothing(store: Store) -> None:
    """HP-19.1-1: an ack, or its closing, does not make it count again; nor does a check."""
    cursor = (await connect(store, "a")).start
    await connect(store, "b")
    await connect(store, "c")
    await store.ack("ann", cursor, "a", "a")
    assert (await store.check("ann", cursor, "a")).holder == DISPLACED
    await store.ack("ann", cursor, "a", "a", closing=True)
    assert holders(store) == {"a": DISPLACED, "b": "b", "c": "c"}
    await connect(store, "a")  # and it may come back, as the youngest
    assert holders(store) == {"a": "a", "b": DISPLACED, "c": "c"}


async def test_a_lower_tier_makes_room_for_the_next(store: Store) -> None:
    """HP-19.1-8: as many go as it takes, and none for nothing."""
    for device in "abcd":
        await connect(store, device, "web" if device == "c" else "ios", 4)
    with pytest.raises(TooManyDevices):
        await connect(store, "e", "web", 2)  # one of the web is not enough
    assert holders(store) == {d: d for d in "abcd"}
    await connect(store, "e", "ios", 2)
    assert holders(store) == {
        "a": DISPLACED, "b": DISPLACED, "c": "c", "d": DISPLACED, "e": "e"
    }  # fmt: skip


async def test_a_device_of_a_killed_gateway_counts_for_two_minutes(store: Store) -> None:
    """HP-19.1-7: to the millisecond."""
    await connect(store, "a")
    await connect(store, "b")
    store.clock.advance(STALE_MS / 1000 - 2.001)  # for a: connected 2 s ago
    with pytest.raises(TooManyDevices):
        await connect(store, "c", policy="refuse")
    store.clock.advance(0.001)
    await connect(store, "c", policy="refuse")
    with pytest.raises(TooManyDevices):
        store.clock.advance(-1)  # as of then, b and c are there
        await connect(store, "d", policy="refuse")


async def test_a_device_that_is_checked_counts_on(store: Store) -> None:
    """HP-19.1-1: checks come a minute apart at most; half of them need not write."""
    cursor = (await connect(store, "a")).start
    await connect(store, "b")
    for _ in range(10):
        for device in "ab":
            await store.check("ann", cursor, device)
        store.clock.advance(60)
        with pytest.raises(TooManyDevices):
            await connect(store, "c", policy="refuse")
    assert SEEN_MS + 60_000 < STALE_MS


async def test_rows_of_an_older_gateway_are_read(store: Store) -> None:
    """HP-19.1-1: from before there were platforms; one without a session counts as gone."""
    meta = store.keys.user(store.app.id, "ann").meta
    for device, holder in (("a", session("a")), ("b", "")):
        store.raw.hset(meta, f"d:{device}", f"0 {store.clock.ms} {holder}")
    with pytest.raises(TooManyDevices):
        await connect(store, "c", "ios", 1)
    await connect(store, "c", "", 1)
    assert holders(store) == {"a": DISPLACED, "b": "-", "c": "c"}


async def test_two_at_once_do_not_both_get_the_last_place(store: Store) -> None:
    """HP-19.1-1: it is decided where it is written."""
    results = await asyncio.gather(
        *(connect(store, f"d{n}", policy="refuse") for n in range(6)), return_exceptions=True
    )
    assert sum(isinstance(result, Standing) for result in results) == 2
