"""History: what is kept of a conversation, for whom, and how long. Over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from homeport import codec, codes, frames
from homeport.frames import Place
from homeport.limits import MAX_FRAME_BYTES

from gateway.config import Settings
from gateway.store.keys import Keys
from tests.gateway.chat.test_options import dump, records, send
from tests.harness import FakeClock, RawClient, RunningWorker, make_settings, running_worker

DAY: float = 24 * 3600


@pytest.fixture
async def running(store_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[RunningWorker]:
    """A gateway on each of both stores, because the scripts are involved."""
    async with running_worker(make_settings(store_url, tmp_path), clock=clock) as running:
        yield running


async def page(
    client: RawClient, peer: str, limit: int = 50, **where: Place | None
) -> tuple[list[str], list[Place], Place | None]:
    """A page's texts and places, and where the next begins."""
    page = await client.ask(frames.History, peer, limit, **where)
    texts = [entry.message.body.decode() for entry in page.entries]
    return texts, [entry.place for entry in page.entries], page.next


async def test_both_ends_read_the_same(running: RunningWorker) -> None:
    """HP-13.1-1, HP-13.1-6, HP-13.2-1: both ways in one conversation, newest first, once each; what
    one writes to oneself is a conversation too."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await alice.say("bob", "one", "same")
        await bob.say("alice", "two")
        await alice.say("bob", "one", "same")
        await alice.say("carol", "not this one")
        for client, peer in ((alice, "bob"), (bob, "alice")):
            texts, places, following = await page(client, peer)
            assert (texts, following) == (["two", "one"], None)
            assert [place.seq for place in places] == [2, 1]
        await alice.say("alice", "note")
        assert (await page(alice, "alice"))[0] == ["note"]


async def test_paging_both_ways(running: RunningWorker) -> None:
    """HP-13.2-1 and HP-13.2-2: each message once, in order, whatever the size of a page."""
    async with running.client("alice") as alice:
        for number in range(7):
            await alice.say("bob", str(number))
        for size in (1, 3, 7, 100):
            texts: list[str] = []
            place: Place | None = None
            while True:
                got, _, place = await page(alice, "bob", size, before=place)
                assert len(got) <= size
                texts += got
                if place is None:
                    break
            assert texts == list("6543210")
            texts, place = [], Place(0, 0)
            while place is not None:
                got, _, place = await page(alice, "bob", size, after=place)
                texts += got
            assert texts == list("0123456")
        assert await page(alice, "bob", before=Place(0, 0)) == ([], [], None)
        assert await page(alice, "bob", after=Place(2**53 - 1, 2**53 - 1)) == ([], [], None)


async def test_both_ends_of_a_range_are_refused(running: RunningWorker) -> None:
    """HP-13.2-3: and the connection is kept."""
    async with running.client("alice") as alice:
        both = {"before": Place(1, 1), "after": Place(0, 0)}
        assert await alice.refused(frames.History, "bob", **both) is codes.INVALID_FIELD
        assert (await page(alice, "bob"))[0] == []


async def test_a_third_user_learns_nothing(running: RunningWorker) -> None:
    """HP-13.2-4: not by any name of the conversation, for reading or deleting."""
    async with running.client("alice") as alice, running.client("eve") as eve:
        await alice.say("bob", "secret")
        for peer in ("alice", "bob", "eve"):
            assert await page(eve, peer) == ([], [], None)
        for peer in ("d:alice:bob", "alice:bob", "d:alice:eve", "", "*", "r:x"):
            for code in (
                await eve.refused(frames.History, peer or " "),
                await eve.refused(frames.Forget, peer or " ", Place(2**53 - 1, 1)),
            ):
                assert code is codes.UNKNOWN_RECIPIENT
        await eve.ask(frames.Forget, "alice", Place(2**53 - 1, 1))
        assert (await page(alice, "bob"))[0] == ["secret"]


async def test_a_record_of_another_conversation_is_not_shown(running: RunningWorker) -> None:
    """HP-13.2-4 and G6: whoever can write to Redis can't move a message between conversations."""
    keys = Keys("sg")
    async with running.client("alice") as alice:
        await alice.say("bob", "for bob")
        await alice.say("carol", "for carol")
        with redis.Redis.from_url(running.redis_url) as store:
            source = keys.log(running.app.id, "d:alice:bob").log
            target = keys.log(running.app.id, "d:alice:carol").log
            (_, fields), *_ = store.xrange(source)
            store.xadd(target, fields, id="9999999999999-9")
        assert (await page(alice, "carol"))[0] == ["for carol"]


async def test_what_is_not_kept(running: RunningWorker) -> None:
    """HP-13.1-1: history false, and online_only; the inbox gets the first of them."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await send(alice, "bob", "off the record", history=False)
        await send(alice, "bob", "psst", online_only=True)
        await alice.say("bob", "kept")
        assert (await page(alice, "bob"))[0] == ["kept"]
        assert (await bob.expect(frames.Push)).message.body == b"off the record"


async def test_history_outlives_the_queue(running: RunningWorker) -> None:
    """HP-13.1-2: acknowledged by all devices, so gone from the inbox; a new one can read it."""
    async with running.client("bob") as bob:
        async with running.client("alice") as alice:
            await alice.say("bob", "hello")
        push = await bob.expect(frames.Push)
        await bob.send(frames.Ack(push.seq))
    async with running.client("bob", "new") as bob:
        assert bob.connected.cursor.seq == 1
        assert (await page(bob, "alice"))[0] == ["hello"]


async def test_history_ends_with_the_tiers_time(running: RunningWorker) -> None:
    """HP-13.1-3 and G4: to the millisecond; HP-13.1-4: and the bytes go."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        await alice.say("bob", "old")
        (old,) = set(records(running))
        running.clock.advance(1)
        await alice.say("bob", "young")
    running.clock.advance(90 * DAY - 1.001)
    async with running.client("bob", "d1") as bob:
        assert (await page(bob, "alice"))[0] == ["young", "old"]
        running.clock.advance(0.001)
        texts, places, _ = await page(bob, "alice")
        assert texts == ["young"]
        assert (await page(bob, "alice", after=Place(0, 0)))[0] == ["young"]
        assert (await page(bob, "alice", before=places[0]))[0] == []
    assert old in dump(running)
    await running.inside.sweep()
    assert old not in dump(running)
    assert len(set(records(running))) == 1
    running.clock.advance(1)
    await running.inside.sweep()
    with redis.Redis.from_url(running.redis_url) as store:
        assert [key for key in store.scan_iter() if b":log" in key] == []


async def test_a_ttl_ends_in_history_too(running: RunningWorker) -> None:
    """HP-12.2-1 and HP-13.2-2: a page may be empty and go on."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        await alice.say("bob", "stays")
        running.clock.advance(1)
        await send(alice, "bob", "short", ttl=5)
        running.clock.advance(4.999)
        assert (await page(alice, "bob"))[0] == ["short", "stays"]
        running.clock.advance(0.001)
        texts, _, following = await page(alice, "bob", 1)
        assert texts == []
        assert following is not None
        assert (await page(alice, "bob", 1, before=following))[0] == ["stays"]


@pytest.mark.parametrize("change", ["tier", "delete"])
async def test_changes_of_the_app_reach_its_logs(running: RunningWorker, change: str) -> None:
    """HP-13.1-4: a downgrade sweeps what is now too old, a deletion all, in the next round."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        await alice.say("bob", "x")
        await send(alice, "bob", "y", ttl=100 * 24 * 3600)
    running.clock.advance(4 * DAY)
    async with running.admin() as admin:
        if change == "tier":
            await admin.apps.change(running.app.id, "tier", "free", running.clock.ms)
        else:
            await admin.apps.delete(running.app.id)
    await running.inside.sweep()
    assert records(running) == []
    with redis.Redis.from_url(running.redis_url) as store:
        left = [key for key in store.scan_iter() if b":log" in key or key.endswith(b":ttl")]
        assert left == [] or change == "tier"


async def test_deleting_is_for_oneself(running: RunningWorker) -> None:
    """HP-13.3-1, HP-13.3-2, HP-13.3-3: for all of the user's devices; not the peer, not later."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        for text in "abc":
            await alice.say("bob", text)
        _, places, _ = await page(alice, "bob")
        middle, newest = places[1], places[0]
        beyond = Place(2**53 - 1, 2**53 - 1)

        async def forget(upto: Place) -> None:
            await alice.ask(frames.Forget, "bob", upto)

        await forget(middle)
        async with running.client("alice", "d2") as other:
            assert (await page(other, "bob"))[0] == ["c"]
        assert (await page(alice, "bob", after=Place(0, 0)))[0] == ["c"]
        assert (await page(alice, "bob", before=middle))[0] == []
        await forget(newest)
        await forget(middle)
        assert (await page(alice, "bob"))[0] == []
        await forget(beyond)
        await bob.say("alice", "new")
        assert (await page(alice, "bob"))[0] == ["new"]
        assert (await page(bob, "alice"))[0] == ["new", "c", "b", "a"]


async def test_a_page_is_no_larger_than_a_frame(settings: Settings, clock: FakeClock) -> None:
    """HP-13.2-5: of the largest bodies there is one to a page, and none is left out."""
    async with (
        running_worker(settings, clock=clock, tier="enterprise") as running,
        running.client("alice", "d1") as alice,
    ):
        for size in (65536, 40000, 40000, 65536):
            await alice.say("bob", "x" * size)
        sizes, place = [], None
        while True:
            answer = await alice.ask(frames.History, "bob", before=place)
            assert len(codec.encode_ok(2**32 - 1, answer)) <= MAX_FRAME_BYTES
            sizes += [len(entry.message.body) for entry in answer.entries]
            place = answer.next
            if place is None:
                break
        assert sizes == [65536, 40000, 40000, 65536]


async def test_ok_waits_for_history(running: RunningWorker) -> None:
    """HP-13.1-1 and G1: a log that can't be written to means no ok, and a retry repairs it."""
    log = Keys("sg").log(running.app.id, "d:alice:bob").log
    with redis.Redis.from_url(running.redis_url) as store:
        store.set(log, "in the way")
        async with running.client("alice") as alice:
            assert isinstance(await alice.say("bob", "x", "same"), frames.Error)
            store.delete(log)
            assert isinstance(await alice.say("bob", "x", "same"), frames.Ok)
            assert (await page(alice, "bob"))[0] == ["x"]
    async with running.client("bob") as bob:
        assert (await bob.expect(frames.Push)).seq == 1
        assert await running.under_way(bob) == []  # and no second one
