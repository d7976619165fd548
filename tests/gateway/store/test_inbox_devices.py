"""Devices and their cursors: where each goes on, what it is told it lost, what its acks let go."""

from __future__ import annotations

from typing import Any

import pytest
from homeport.frames import Cursor

from gateway.security.tokens import Identity
from gateway.store.inbox import MAX_DEVICES, PAGE, Standing
from gateway.store.readers import TokenRevoked
from tests.gateway.store.conftest import Store, lost


def at(attached: Standing, seq: int) -> Cursor:
    """The cursor of a client that has dealt with number `seq` of what attaching brought."""
    ms = next(ref.time_ms for ref in attached.references if ref.number == seq)
    return Cursor(attached.start.epoch, ms, seq)


def seqs(attached: Standing) -> list[int]:
    """The numbers that attaching brought."""
    return [ref.number for ref in attached.references]


# -- attach --------------------------------------------------------------------------------------


async def test_an_empty_inbox(store: Store) -> None:
    """HP-7.2-6: a new device of a new user starts before number 1, and nothing is lost."""
    attached = await store.attach("ann")
    assert attached == Standing(
        Cursor(attached.start.epoch, 0, 0), 0, 0, False, [], since_ms=store.clock.ms
    )
    assert len(attached.start.epoch) == 8
    assert (await store.attach("ann")).start.epoch == attached.start.epoch


async def test_a_new_device_starts_before_the_oldest_kept(store: Store) -> None:
    """HP-7.2-6: everything that waits is its to read."""
    await store.fill("ann", 3)
    attached = await store.attach("ann")
    assert (attached.start.number, seqs(attached), lost(attached)) == (0, [1, 2, 3], None)
    assert attached.resumed is False


async def test_a_new_device_is_not_told_of_what_the_others_acknowledged(store: Store) -> None:
    """HP-7.2-6, G5: what left because everybody had it is no loss."""
    await store.fill("ann", 5)
    first = await store.attach("ann", "phone")
    await store.ack("ann", at(first, 3))
    attached = await store.attach("ann", "tablet")
    assert (attached.start.number, seqs(attached), lost(attached)) == (3, [4, 5], None)


async def test_without_a_cursor_the_servers_counts(store: Store) -> None:
    """HP-7.2-6: a known device goes on after what it acknowledged."""
    await store.fill("ann", 4)
    await store.attach("ann", "other")
    attached = await store.attach("ann")
    await store.ack("ann", at(attached, 2))
    again = await store.attach("ann")
    assert (again.start, seqs(again), again.resumed) == (at(attached, 2), [3, 4], False)


async def test_with_a_cursor_the_clients_counts(store: Store) -> None:
    """HP-7.2-4, HP-7.2-7: the server goes on after it, says resumed, and takes it as an ack."""
    await store.fill("ann", 4)
    cursor = at(await store.attach("ann"), 3)
    again = await store.attach("ann", cursor=cursor)
    assert (again.start, seqs(again), again.resumed, lost(again)) == (cursor, [4], True, None)
    assert (await store.attach("ann")).start == cursor


async def test_a_cursor_at_the_top_resumes_with_nothing(store: Store) -> None:
    """HP-7.2-4: also when all is read, acknowledged and gone."""
    await store.fill("ann", 2)
    cursor = at(await store.attach("ann"), 2)
    await store.ack("ann", cursor)
    assert store.inbox("ann") == []
    again = await store.attach("ann", cursor=cursor)
    assert (again.start, seqs(again), again.resumed, lost(again)) == (cursor, [], True, None)


async def test_a_cursor_before_what_the_device_acknowledged(store: Store) -> None:
    """HP-7.2-4, G5: a client restored from a backup reads again what is still kept, and is told
    of the rest."""
    await store.fill("ann", 5)
    await store.attach("ann", "slow")
    attached = await store.attach("ann")
    await store.ack("ann", at(attached, 4))
    again = await store.attach("ann", cursor=at(attached, 1))
    assert (seqs(again), again.resumed, lost(again)) == ([2, 3, 4, 5], True, None)
    assert (await store.attach("ann")).start.number == 4  # the server's own did not go back
    await store.ack("ann", at(attached, 3), "slow")
    again = await store.attach("ann", cursor=at(attached, 1))
    assert (seqs(again), lost(again)) == ([4, 5], (2, 3))


async def test_a_cursor_of_another_epoch_is_ignored(store: Store) -> None:
    """HP-7.2-5: as if there were none, and resumed is false."""
    await store.fill("ann", 3)
    attached = await store.attach("ann")
    await store.ack("ann", at(attached, 1))
    foreign = Cursor("ffffffff", attached.references[2].time_ms, 3)
    again = await store.attach("ann", cursor=foreign)
    assert (again.start.number, seqs(again), again.resumed) == (1, [2, 3], False)


async def test_only_a_page_is_read_at_once(store: Store) -> None:
    """G9: attaching to a full inbox brings one page; the top tells that there is more."""
    await store.fill("ann", PAGE + 10)
    attached = await store.attach("ann")
    assert (len(attached.references), attached.top) == (PAGE, PAGE + 10)


# -- loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", ["unknown device", "known device", "own cursor"])
async def test_what_was_lost_is_told_exactly(store: Store, known: str) -> None:
    """G5, HP-7.4-1: of an inbox over its cap, the range of what the device had not acknowledged."""
    cursor, read = None, 0
    await store.fill("ann", 4)
    if known != "unknown device":
        attached, read = await store.attach("ann"), 2
        if known == "own cursor":
            cursor = at(attached, 2)
        else:
            await store.ack("ann", at(attached, 2))
    store.use_tier("free", inbox_cap=3)
    await store.fill("ann", 6)
    attached = await store.attach("ann", cursor=cursor)
    assert (lost(attached), seqs(attached)) == ((read + 1, 7), [8, 9, 10])
    # The end of the range is a good cursor to come back with.
    end = Cursor(attached.start.epoch, 0, 7)
    again = await store.attach("ann", cursor=end)
    assert (again.start, lost(again), seqs(again), again.resumed) == (end, None, [8, 9, 10], True)
    await store.ack("ann", end)
    assert lost(await store.attach("ann")) is None


async def test_nothing_lost_is_not_told(store: Store) -> None:
    """G5: a device that had everything hears of no loss, though all of it is past its time."""
    await store.fill("ann", 3)
    cursor = at(await store.attach("ann"), 3)
    store.clock.advance(store.app.tier.retention_ms / 1000)
    attached = await store.attach("ann", cursor=cursor)
    assert (lost(attached), attached.resumed, attached.start) == (None, True, cursor)


# -- Redis came back older -----------------------------------------------------------------------


def photograph(store: Store) -> dict[bytes, Any]:
    """All that Redis holds now."""
    return {key: store.raw.dump(key) for key in store.raw.scan_iter(count=1000)}


def roll_back(store: Store, photo: dict[bytes, Any]) -> None:
    """Redis comes back as it was."""
    store.raw.flushall()
    for key, dump in photo.items():
        store.raw.restore(key, 0, dump)


@pytest.mark.parametrize("stored_since", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("clock_s", [1.0, -0.003])
async def test_a_rolled_back_inbox_gets_a_new_epoch(
    store: Store, stored_since: int, clock_s: float
) -> None:
    """G5, HP-7.2-5: numbers that a client has seen were given again, to others. It is not resumed
    at its place, where it would silently skip them, even if a clock had run ahead before."""
    await store.fill("ann", 4)
    before = await store.attach("ann")
    await store.ack("ann", at(before, 2))
    photo = photograph(store)
    store.clock.advance(0.005)
    await store.fill("ann", 2)
    newest = store.waiting("ann")[-1]
    roll_back(store, photo)
    for n in range(stored_since):
        store.clock.advance(clock_s if n == 0 else 0.001)
        await store.say("ann", record=b"other%d" % n)
    cursor = Cursor(before.start.epoch, newest.time_ms, newest.number)
    attached = await store.attach("ann", cursor=cursor)
    assert attached.resumed is False
    assert attached.start.epoch != before.start.epoch
    assert seqs(attached) == [3, 4, *range(5, 5 + stored_since)]
    assert lost(attached) is None
    # Every other device of the user learns it, by its own cursor or the check of its session.
    other = await store.attach("ann", "tablet", cursor=at(before, 4))
    assert (other.resumed, other.start.epoch) == (False, attached.start.epoch)


async def test_an_ack_of_a_numbering_that_is_void_changes_nothing(store: Store) -> None:
    """G5: a session that has not yet heard that Redis came back older must not move a cursor past
    what is now there, nor trim it."""
    await store.fill("ann", 2)
    before = await store.attach("ann")
    photo = photograph(store)
    store.clock.advance(1)
    await store.fill("ann", 2)
    newest = store.waiting("ann")[-1]
    roll_back(store, photo)
    late = Cursor(before.start.epoch, newest.time_ms, newest.number)
    row = store.meta("ann")["d:phone"]
    await store.ack("ann", late)  # beyond the top
    store.clock.advance(1)
    await store.fill("ann", 2)
    await store.ack("ann", late)  # such a number is there again, for another message
    assert store.meta("ann")["d:phone"].split()[0] == row.split()[0]
    attached = await store.attach("ann")
    assert (seqs(attached), lost(attached)) == ([1, 2, 3, 4], None)
    await store.attach("ann", cursor=late)  # a new epoch begins
    await store.ack("ann", at(before, 2))
    assert store.inbox("ann") == [1, 2, 3, 4]


async def test_an_ack_after_redis_lost_everything_leaves_nothing(store: Store) -> None:
    """What a late session says of an inbox that is not there makes no key that nobody sweeps."""
    await store.fill("ann", 1)
    before = await store.attach("ann")
    store.raw.flushall()
    await store.ack("ann", at(before, 1), closing=True)
    assert store.raw.keys() == []


@pytest.mark.parametrize("ms_off", [-1, 1, 10**12])
@pytest.mark.parametrize("seq", [2, 9])
async def test_a_made_up_cursor_trims_nothing(store: Store, ms_off: int, seq: int) -> None:
    """HP-7.2-4, HP-7.2-9: only a cursor that names a kept message is an ack, and one that can't be
    a place of the inbox begins a new epoch."""
    await store.fill("ann", 4)
    attached = await store.attach("ann")
    made_up = Cursor(attached.start.epoch, attached.references[0].time_ms + ms_off, seq)
    again = await store.attach("ann", cursor=made_up)
    assert (again.resumed, seqs(again)) == (False, [1, 2, 3, 4])
    assert again.start.epoch != attached.start.epoch
    assert (await store.attach("ann", "tablet")).start.number == 0
    assert store.inbox("ann") == [1, 2, 3, 4]


# -- devices ---------------------------------------------------------------------------------------


async def test_the_device_unseen_longest_is_forgotten_past_64(store: Store) -> None:
    """HP-7.2-10, G9: a user's devices are bounded, and the newcomer is never the one to go."""
    await store.fill("ann", 1)
    for n in range(MAX_DEVICES):
        await store.attach("ann", f"d{n}")
        store.clock.advance(1)
    await store.attach("ann", "d0")  # seen again: now d1 is the one unseen longest
    store.clock.advance(-3600)  # the newcomer's clock is behind all others'
    assert len(store.devices("ann")) == MAX_DEVICES
    await store.attach("ann", "new")
    assert store.devices("ann") == {"new", *(f"d{n}" for n in range(MAX_DEVICES) if n != 1)}
    again = await store.attach("ann", "d1")
    assert (again.start.number, lost(again), seqs(again)) == (0, None, [1])


async def test_a_revoked_token_does_not_attach(store: Store) -> None:
    """HP-6.4-1, G8: issued before the time: refused, and nothing is written; at it: let in."""
    now = store.clock.ms
    async with store.admin() as admin:
        await admin.access.revoke(store.app.id, "ann", now)
    with pytest.raises(TokenRevoked):
        await store.attach("ann", issued_ms=now - 1)
    assert store.meta("ann") == {}
    assert (await store.attach("ann", issued_ms=now)).top == 0
    assert (await store.attach("bob", issued_ms=now - 1)).top == 0


async def test_a_token_that_was_revoked_by_itself_does_not_attach(store: Store) -> None:
    """HP-6.4-5, G8: it, and no other of the same age or of another user."""
    now = store.clock.ms
    identity = Identity("ann", now // 1000, now // 1000 + 60, "", "abc")
    async with store.admin() as admin:
        await admin.access.revoke_token(store.app.id, identity)
    with pytest.raises(TokenRevoked):
        await store.attach("ann", digest="abc")
    assert store.meta("ann") == {}
    assert (await store.attach("ann", digest="abd")).top == 0
    assert (await store.attach("bob", digest="abc")).top == 0
