"""Inboxes over the tiers' times, the dedupe window, and the wall between apps."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from gateway.store.inbox import InboxStore
from tests.gateway.store.conftest import APP_ID, Store, message_id

DAY_S = 86_400.0


async def shown(store: Store, user: str) -> list[bytes | None]:
    """The records of what an inbox refers to, of what is within its time."""
    inboxes = InboxStore(store.link, store.keys, store.talks)
    refs = (await inboxes.page(APP_ID, user, 0)).references
    found = await inboxes.messages(APP_ID, store.tier, user, refs, store.clock.ms)
    return [None if each.message is None else each.message.record for each in found]


async def test_the_dedupe_window_is_ten_minutes(store: Store) -> None:
    """G2, HP-7.1-4: the mark lives as long as the window from the first send; a repeat does not
    make it longer."""
    mid = message_id()
    await store.say("bob", mid=mid)
    name = store.keys.sent(store.talks.direct(APP_ID, "sender", "bob").keys.bucket, mid)
    first: Any = store.raw.pttl(name)
    assert 590_000 < first <= 600_000
    store.raw.pexpire(name, 5_000)
    assert (await store.say("bob", mid=mid)).repeated
    again: Any = store.raw.pttl(name)
    assert again <= 5_000
    store.raw.pexpire(name, 0)
    assert not (await store.say("bob", mid=mid)).repeated


async def test_an_upgrade_loses_nothing_still_held(store: Store) -> None:
    """G4: what was stored under the old tier gets the new tier's time, also where it was hidden."""
    await store.say("bob", record=b"kept")
    store.clock.advance(3 * DAY_S)
    assert await shown(store, "bob") == [None]
    store.use_tier("basic")
    assert await shown(store, "bob") == [b"kept"]


async def test_a_downgrade_hides_at_once(store: Store) -> None:
    """G4: from the moment a gateway knows the new tier, its time counts."""
    store.use_tier("basic")
    await store.say("bob", record=b"old")
    store.clock.advance(3 * DAY_S)
    assert await shown(store, "bob") == [b"old"]
    store.use_tier("free")
    assert await shown(store, "bob") == [None]


async def test_what_is_past_its_time_hides_nothing_behind_it(store: Store) -> None:
    """G4: a page that begins with what has ended goes on with what has not, to the millisecond."""
    await store.say("bob", record=b"old")
    store.clock.advance(0.001)
    await store.say("bob", record=b"young")
    store.clock.advance(3 * DAY_S - 0.001)
    assert await shown(store, "bob") == [None, b"young"]


async def test_two_apps_share_no_inbox(store: Store) -> None:
    """G3, G6: the users of another app have the same ids, and nothing of this one's."""
    await store.say("bob", record=b"mine")
    other = replace(store.app, id="02" + "f" * 30)
    inboxes = InboxStore(store.link, store.keys, store.talks)
    assert (await inboxes.page(other.id, "bob", 0)).references == []
