"""What is read of one user, on all kinds of store, and what is noted for it."""

from __future__ import annotations

from typing import Any

from homeport.frames import Cursor

from gateway.store.blocks import BlockStore
from gateway.store.endings import BROKEN_OFF, ENDS_KEPT, Cause, End, Loss, NotedEnd, NotedLoss
from gateway.store.entries import NewEntry
from gateway.store.group_state import Change, Member
from gateway.store.groups import GroupStore
from gateway.store.inbox import Standing
from gateway.store.presence import PresenceStore
from gateway.store.readers import Arrival, Progress, Reader
from gateway.store.user_facts import MAX_CONVERSATIONS, UserFacts, read_user
from tests.gateway.store.conftest import Store, acked, message_id, session

GATEWAY = "abcdef"


def of(name: str, gateway: str = GATEWAY) -> str:
    """A session id on a gateway."""
    return name.ljust(10, "0") + gateway


async def read(store: Store, user: str = "ann") -> UserFacts:
    """As the command reads it."""
    async with store.admin() as admin:
        return await read_user(
            admin.link, admin.keys, await admin.apps.existing(store.app.id), user
        )


async def attach(
    store: Store, device: str, session_id: str, *, ephemeral: bool = False
) -> Standing:
    """A device of ann connects, now."""
    reader = Reader(store.app.id, "ann", device, session_id, ephemeral)
    now = store.clock.ms
    return await store.inboxes.attach(reader, store.app.tier, Arrival(now), now)


def everything(store: Store) -> dict[bytes, Any]:
    """Every key with its bytes."""
    return {key: store.raw.dump(key) for key in store.raw.scan_iter(count=1000)}


async def test_of_nobody_there_is_nothing(store: Store) -> None:
    """And nothing is there of them afterwards."""
    before = set(everything(store))
    facts = await read(store, "nobody")
    assert (facts.devices, facts.head, facts.kept, facts.ends) == ((), 0, 0, ())
    assert (facts.presence, facts.loss, facts.revoked_before_ms) == ("offline", None, 0)
    assert set(everything(store)) == before


async def test_devices_with_what_waits_for_each(store: Store) -> None:
    """Cursor against head: of a device that reads, and one that does not, of a killed gateway."""
    await PresenceStore(store.link, store.keys, GATEWAY, where="host-7 2").renew()
    for _ in range(2):
        await store.say("ann", "bob")
    phone = await attach(store, "phone", of("p"))
    await attach(store, "old", of("o", "dead00"))
    cursor = Cursor(phone.start.epoch, phone.references[0].time_ms, 1)
    reader = Reader(store.app.id, "ann", "phone", of("p"))
    await acked(store.inboxes, reader, store.app.tier, Progress(cursor), store.clock.ms)
    store.clock.advance(5)
    for _ in range(2):
        await store.say("ann", "bob")
    await attach(store, "cli", of("l"), ephemeral=True)
    facts = await read(store)
    old, read_by = facts.devices
    assert (facts.head, facts.kept, facts.cap) == (4, 4, store.app.tier.inbox_cap)
    assert (read_by.device, read_by.acknowledged, read_by.unacknowledged) == ("phone", 1, 3)
    assert read_by.oldest_ms == phone.references[1].time_ms
    assert read_by.session is not None
    assert read_by.session.connected
    assert (read_by.session.gateway, read_by.session.where) == (GATEWAY, "host-7 2")
    assert (old.device, old.acknowledged, old.unacknowledged) == ("old", 0, 4)
    assert old.session is not None
    assert (old.session.connected, old.session.where) == (False, "")
    assert [each.session.id for each in facts.looking if each.session] == [of("l")]
    assert facts.presence == "online"


async def test_what_is_past_its_time_does_not_wait(store: Store) -> None:
    """G4: it is not delivered, so it is not told, whether the sweeper has come or not."""
    now = store.clock.ms
    store.clock.advance(-store.app.tier.retention_ms / 1000 - 60)
    for _ in range(3):
        await store.say("ann", "zoe")
    store.clock.now = now / 1000
    await store.say("ann", "bob")
    await attach(store, "phone", of("p"))
    facts = await read(store)
    [phone] = facts.devices
    assert (phone.unacknowledged, phone.oldest_ms, facts.oldest_ms) == (1, now, now)
    assert facts.unread == {"bob": 1}


async def test_unread_blocks_and_revocation(store: Store) -> None:
    """By the names that the user has for them; both ways; and no more than is asked for."""
    blocks = BlockStore(store.link, store.keys)
    for user, other, blocked in (("ann", "eve", True), ("bob", "ann", True), ("cy", "ann", True)):
        await blocks.change(store.app.id, store.app.tier, user, other, blocked, store.clock.ms)
    await blocks.change(store.app.id, store.app.tier, "cy", "ann", False, store.clock.ms)
    for sender, count in (("bob", 2), ("zoe", 1)):
        for _ in range(count):
            await store.say("ann", sender)
    async with store.admin() as admin:
        await admin.access.revoke(store.app.id, "ann", 5000)
    facts = await read(store)
    assert (facts.blocks, facts.blocked_by) == (("eve",), ("bob",))
    assert (facts.unread, facts.more) == ({"bob": 2, "zoe": 1}, False)
    assert facts.revoked_before_ms == 5000
    for number in range(MAX_CONVERSATIONS):
        await store.say("ann", f"s{number}")
    facts = await read(store)
    assert (len(facts.unread), facts.more) == (MAX_CONVERSATIONS, True)


async def test_groups_that_the_user_is_in(store: Store) -> None:
    """Not those that the user went from, however well their messages are remembered."""
    groups = GroupStore(store.link, store.keys, store.talks, lambda: store.clock.ms)
    for group in ("ab" * 16, "cd" * 16):
        members: dict[str, Member | None] = {"bob": Member("owner"), "ann": Member("member")}
        notice = NewEntry(message_id(), b"in", store.clock.ms, "", 0)
        version = groups.next_version(None)
        assert await groups.change(store.app, group, None, Change(members=members), version, notice)
    assert (await read(store)).groups == 2
    before = await groups.current(store.app, group)
    notice = NewEntry(message_id(), b"out", store.clock.ms, "", 0)
    version = groups.next_version(before)
    change = Change(members={"ann": None})
    assert await groups.change(store.app, group, before, change, version, notice)
    assert (await read(store)).groups == 1


async def test_the_last_ends_and_the_last_loss_are_kept(store: Store) -> None:
    """A few of them, the newest first; they go with the profile, and with the app."""
    attached = await attach(store, "phone", session("s"))
    reader = Reader(store.app.id, "ann", "phone", session("s"))
    none = Cursor(attached.start.epoch, 0, 0)
    tier = store.app.tier
    for number in range(ENDS_KEPT + 2):
        end, loss = End(number, Cause("gateway", 4500 + number)), Loss(number, number, number + 1)
        await acked(store.inboxes, reader, tier, Progress(none, end, loss), store.clock.ms)
    await acked(store.inboxes, reader, tier, Progress(none, End(99, BROKEN_OFF)), 5)
    await acked(store.inboxes, reader, tier, Progress(none), store.clock.ms)  # goes on: no end
    facts = await read(store)
    assert [end.ms for end in facts.ends] == [99, *range(ENDS_KEPT + 1, 2, -1)]
    assert facts.ends[0] == NotedEnd(99, BROKEN_OFF, session("s"), "phone")
    assert facts.ends[1].cause == Cause("gateway", 4500 + ENDS_KEPT + 1)
    last = ENDS_KEPT + 1
    assert facts.loss == NotedLoss(last, last, last + 1, "phone")
    closes = store.keys.user(store.app.id, "ann").closes
    assert store.raw.pttl(closes) > 0
    async with store.admin() as admin:
        await admin.apps.delete(store.app.id)
    await store.sweeper().sweep()
    assert store.raw.exists(closes) == 0


async def test_reading_changes_nothing(store: Store) -> None:
    """Not a byte of any key, so it can be done at any time."""
    await PresenceStore(store.link, store.keys, GATEWAY).renew()
    await store.say("ann", "bob")
    await attach(store, "phone", of("p"))
    before = everything(store)
    await read(store)
    assert everything(store) == before
