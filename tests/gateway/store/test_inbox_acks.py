"""Acknowledgements: what they let go, and what an inbox says of where it is."""

from __future__ import annotations

from typing import Any

from homeport.frames import Cursor

from gateway.store.inbox import SEEN_MS, Standing
from gateway.store.readers import Checked, Revocations
from tests.gateway.store.conftest import Store, session


def at(attached: Standing, seq: int) -> Cursor:
    """The cursor of a client that has dealt with number `seq` of what attaching brought."""
    ms = next(ref.time_ms for ref in attached.references if ref.number == seq)
    return Cursor(attached.start.epoch, ms, seq)


def seqs(attached: Standing) -> list[int]:
    """The numbers that attaching brought."""
    return [ref.number for ref in attached.references]


# -- ack ---------------------------------------------------------------------------------------


async def test_an_ack_is_cumulative_and_never_goes_back(store: Store) -> None:
    """HP-7.3-1: a lower number, late or doubled, changes nothing."""
    await store.fill("ann", 5)
    await store.attach("ann", "other")
    attached = await store.attach("ann")
    for seq, stands in ((2, 2), (4, 4), (3, 4), (4, 4), (1, 4), (5, 5)):
        await store.ack("ann", at(attached, seq))
        assert (await store.attach("ann")).start.number == stands


async def test_only_what_all_known_devices_acknowledged_goes(store: Store) -> None:
    """G4, HP-7.3-2: a message waits for the last of the user's devices."""
    await store.fill("ann", 4)
    a, b, c = [await store.attach("ann", device) for device in "abc"]
    await store.ack("ann", at(a, 4), "a")
    await store.ack("ann", at(b, 2), "b")
    assert store.inbox("ann") == [1, 2, 3, 4]
    await store.ack("ann", at(c, 3), "c")
    assert store.inbox("ann") == [3, 4]
    await store.ack("ann", at(b, 4), "b")
    assert store.inbox("ann") == [4]
    await store.ack("ann", at(c, 4), "c")
    assert store.inbox("ann") == []
    await store.fill("ann", 1)
    assert store.inbox("ann") == [5]  # HP-7.2-1: the count goes on


async def test_a_device_unseen_for_the_tiers_time_holds_nothing_up(store: Store) -> None:
    """G4: a phone in a drawer does not keep what the others have dealt with."""
    await store.attach("ann", "drawer")
    store.clock.advance(store.app.tier.retention_ms / 1000 - 0.001)
    await store.fill("ann", 2)
    attached = await store.attach("ann")
    await store.ack("ann", at(attached, 1))
    assert len(store.inbox("ann")) == 2
    store.clock.advance(0.001)
    await store.ack("ann", at(attached, 2))
    assert store.inbox("ann") == []


async def test_closing_gives_the_device_free(store: Store) -> None:
    """SPEC 5.5: the session that comes next replaces nobody, and the acknowledged place stays."""
    await store.fill("ann", 2)
    attached = await store.attach("ann", name="one")
    await store.ack("ann", at(attached, 1), name="one", closing=True)
    assert (await store.check("ann", at(attached, 1))).holder == ""
    async with store.hearing(store.inboxes.channel(store.app.id, "ann")) as heard:
        assert (await store.attach("ann", name="two")).start.number == 1
        await store.say("ann")
        assert (await heard.get())[1][0] == 1  # the message; before it nobody was replaced
    # The replaced session's late goodbye does not give away what is another's now.
    await store.ack("ann", at(attached, 2), name="one", closing=True)
    assert (await store.check("ann", at(attached, 2))).holder == session("two")


# -- check -----------------------------------------------------------------------------------


async def test_check_tells_where_the_inbox_is(store: Store) -> None:
    """G3: a session that missed a publish learns the top, its holder and the epoch."""
    await store.fill("ann", 3)
    attached = await store.attach("ann", name="one")
    store.clock.advance(1)
    await store.fill("ann", 1)
    for seq in (1, 3):
        assert await store.check("ann", at(attached, seq)) == Checked(
            attached.start.epoch, 4, session("one"), Revocations()
        )
    await store.attach("ann", name="two")
    assert (await store.check("ann", at(attached, 3))).holder == session("two")
    async with store.admin() as admin:
        await admin.access.revoke(store.app.id, "ann", 1234)
    assert (await store.check("ann", at(attached, 3))).revoked == Revocations(1234)


async def test_check_finds_a_void_numbering(store: Store) -> None:
    """G5: ahead of the top, given again, unknown device, or nothing there at all."""
    await store.fill("ann", 2)
    attached = await store.attach("ann")
    ms, epoch = attached.references[0].time_ms, attached.start.epoch
    assert (await store.check("ann", Cursor(epoch, ms, 3))).epoch == ""
    store.clock.advance(1)
    await store.fill("ann", 1)
    assert (await store.check("ann", Cursor(epoch, ms + 1, 3))).epoch == ""
    assert (await store.check("ann", Cursor(epoch, ms, 2), "unknown")).epoch == ""
    assert await store.check("bob", Cursor(epoch, ms, 2)) == Checked("", 0, "", Revocations())
    assert store.meta("bob") == {}  # asking leaves nothing behind


async def test_check_keeps_a_connected_device_from_being_forgotten(store: Store) -> None:
    """G4, HP-19.1-7: a device that stays connected is not unseen, though it may never write."""
    cursor = (await store.attach("ann", name="one")).start
    row = store.meta("ann")["d:phone"]
    store.clock.advance(SEEN_MS / 1000)
    await store.check("ann", cursor)
    assert store.meta("ann")["d:phone"] == row  # not at every check
    store.clock.advance(0.001)
    assert (await store.check("ann", cursor)).holder == session("one")
    assert store.meta("ann")["d:phone"].split()[1] == str(store.clock.ms)
    assert store.meta("ann")["u"] == str(store.clock.ms)


async def test_a_row_that_came_back_from_the_past_replaces_nobody(store: Store) -> None:
    """HP-5.1-12: the device went from one gateway to another, and Redis came back as of before. The
    row then names the earlier session, but the later one was not replaced."""
    first = await store.attach("ann", name="one")
    meta = store.keys.user(store.app.id, "ann").meta
    before: Any = store.raw.hgetall(meta)
    second = await store.attach("ann", name="two")  # within the same millisecond
    assert second.since_ms > first.since_ms
    assert (await store.check("ann", first.start, since_ms=first.since_ms)).holder == session("two")
    store.raw.hset(meta, mapping=before)
    checked = await store.check("ann", second.start, since_ms=second.since_ms)
    assert (checked.epoch, checked.holder) == ("", "")
    assert (await store.check("ann", first.start, since_ms=first.since_ms)).holder == session("one")
