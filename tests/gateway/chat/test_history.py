"""History: what is kept of a conversation, for whom, and how long. Over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from homeport import codec, codes, frames
from homeport.limits import MAX_FRAME_BYTES
from structlog.testing import capture_logs

from gateway.config import Settings
from gateway.store.keys import Keys
from tests.gateway.chat.doors import a_door
from tests.gateway.chat.keeping import chunk, dump, kept, records
from tests.gateway.chat.test_options import send
from tests.harness import (
    FakeClock,
    RawClient,
    RunningWorker,
    accepted,
    make_settings,
    running_worker,
)

DAY: float = 24 * 3600
LAST = 2**53 - 1
"""The largest number that a client can name."""


@pytest.fixture
async def running(store_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[RunningWorker]:
    """A gateway on each of both stores, because the scripts are involved."""
    async with running_worker(make_settings(store_url, tmp_path), clock=clock) as running:
        yield running


async def page(
    client: RawClient, peer: str, limit: int = 50, **where: int | None
) -> tuple[list[str], list[int], int | None]:
    """A page's texts and numbers, and where the next begins. Nothing of it is lost."""
    page = await client.ask(frames.History, peer, limit, **where)
    assert page.lost == 0
    texts = [entry.message.body.decode() for entry in page.entries]
    return texts, [entry.seq for entry in page.entries], page.next


async def test_both_ends_read_the_same(running: RunningWorker) -> None:
    """HP-13.1-1, HP-13.1-6, HP-13.2-1: both ways in one conversation, newest first, once each, with
    the numbers that their senders were told; what one writes to oneself is a conversation too."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        told = [
            accepted(await alice.say("bob", "one", "same")),
            accepted(await bob.say("alice", "two")),
            accepted(await alice.say("bob", "one", "same")),
        ]
        assert [each.seq for each in told] == [1, 2, 1]
        assert accepted(await alice.say("carol", "not this one")).seq == 1
        for client, peer in ((alice, "bob"), (bob, "alice")):
            assert await page(client, peer) == (["two", "one"], [2, 1], None)
        await alice.say("alice", "note")
        assert (await page(alice, "alice"))[0] == ["note"]


async def test_paging_both_ways(running: RunningWorker) -> None:
    """HP-13.2-1 and HP-13.2-2: each message once, in order, whatever the size of a page."""
    async with running.client("alice") as alice:
        for number in range(7):
            await alice.say("bob", str(number))
        for size in (1, 3, 7, 100):
            texts: list[str] = []
            place: int | None = None
            while True:
                got, _, place = await page(alice, "bob", size, before=place)
                assert len(got) <= size
                texts += got
                if place is None:
                    break
            assert texts == list("6543210")
            texts, place = [], 0
            while place is not None:
                got, _, place = await page(alice, "bob", size, after=place)
                texts += got
            assert texts == list("0123456")
        assert await page(alice, "bob", before=0) == ([], [], None)
        assert await page(alice, "bob", before=1) == ([], [], None)
        assert await page(alice, "bob", after=LAST) == ([], [], None)
        assert (await page(alice, "bob", 1, before=LAST))[0] == ["6"]


async def test_both_ends_of_a_range_are_refused(running: RunningWorker) -> None:
    """HP-13.2-3: and the connection is kept."""
    async with running.client("alice") as alice:
        both = {"before": 1, "after": 0}
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
                await eve.refused(frames.Forget, peer or " ", LAST),
            ):
                assert code is codes.UNKNOWN_RECIPIENT
        await eve.ask(frames.Forget, "alice", LAST)
        assert (await page(alice, "bob"))[0] == ["secret"]


async def test_a_record_of_another_conversation_is_not_shown(running: RunningWorker) -> None:
    """HP-13.2-4, HP-13.2-7, G6: whoever can write to Redis can't move a message between
    conversations; the reader is told that one is lost, and the operator sees an error."""
    async with running.client("alice") as alice:
        for peer in ("bob", "carol"):
            for text in ("one", "two", "three"):
                await alice.say(peer, f"{text} for {peer}")
        source, target = (chunk(running, f"d:alice:{peer}") for peer in ("bob", "carol"))
        with redis.Redis.from_url(running.redis_url) as store:
            moved = store.hget(source, "2")
            store.hset(target, "2", moved)
        with capture_logs() as lines:
            found = await alice.ask(frames.History, "carol", 50)
        assert [entry.seq for entry in found.entries] == [3, 1]
        assert found.lost == 1
        assert "record_tampered" in [line["event"] for line in lines]
        assert (await page(alice, "bob"))[1] == [3, 2, 1]


async def test_what_the_store_has_lost_is_said(running: RunningWorker) -> None:
    """HP-13.2-7, G5: numbers that are gone although nothing removed them are counted on the page
    in whose range they lie, and on no other; also where large messages end the page early."""
    sizes, gone = dict.fromkeys(range(3, 11), 30_000), {4, 7, 9}
    async with running.client("alice") as alice:
        for n in range(1, 11):
            await alice.say("bob", f"{n} " + "x" * sizes.get(n, 0))
        with redis.Redis.from_url(running.redis_url) as store:
            store.hdel(chunk(running, "d:alice:bob"), *map(str, gone))
        for where in ("before", "after"):
            place: int | None = 11 if where == "before" else 0
            seen: list[int] = []
            pages = 0
            while place is not None:
                found = await alice.ask(frames.History, "bob", 50, **{where: place})
                if where == "before":
                    covered = range(found.next or 1, place)
                else:
                    covered = range(place + 1, (found.next or 10) + 1)
                assert found.lost == len(gone & set(covered)), (place, found.next)
                seen += [entry.seq for entry in found.entries]
                place, pages = found.next, pages + 1
            assert sorted(seen, reverse=where == "before") == seen
            assert set(seen) == set(range(1, 11)) - gone
            assert pages > 2


async def test_what_is_not_kept(running: RunningWorker) -> None:
    """HP-13.1-1: history false, and online_only. The first takes a number of the conversation, as
    its recipients get it; the second takes none."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        quiet = accepted(await send(alice, "bob", "off the record", history=False))
        live = accepted(await send(alice, "bob", "psst", online_only=True))
        assert (quiet.seq, live.seq) == (1, 0)
        assert accepted(await alice.say("bob", "kept")).seq == 2
        assert await page(alice, "bob") == (["kept"], [2], None)
        assert (await bob.next(frames.Push)).message.body == b"off the record"


async def test_history_outlives_the_queue(running: RunningWorker) -> None:
    """HP-13.1-2: acknowledged by all devices, so gone from the inbox; a new one can read it."""
    async with running.client("bob") as bob:
        async with running.client("alice") as alice:
            await alice.say("bob", "hello")
        push = await bob.expect(frames.Push)
        await bob.send(frames.Ack(push.number))
    async with running.client("bob", "new") as bob:
        assert bob.connected.cursor.number == 1
        assert (await page(bob, "alice"))[0] == ["hello"]


async def test_history_ends_with_the_tiers_time(running: RunningWorker) -> None:
    """HP-13.1-3 and G4: to the millisecond; HP-13.1-4: and the bytes go."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        await alice.say("bob", "old")
        (old,) = records(running)
        running.clock.advance(1)
        await alice.say("bob", "young")
    running.clock.advance(90 * DAY - 1.001)
    async with running.client("bob", "d1") as bob:
        assert (await page(bob, "alice"))[0] == ["young", "old"]
        running.clock.advance(0.001)
        assert await page(bob, "alice") == (["young"], [2], None)
        assert (await page(bob, "alice", after=0))[0] == ["young"]
        assert (await page(bob, "alice", before=2))[0] == []
    assert old in dump(running)
    running.clock.advance(15)
    await running.inside.sweep()
    assert old not in dump(running)
    assert records(running) == []


async def test_a_ttl_ends_in_history_too(running: RunningWorker) -> None:
    """HP-12.2-1, HP-13.2-7, G5: to the millisecond; what has ended is not lost."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        await alice.say("bob", "stays")
        running.clock.advance(1)
        await send(alice, "bob", "short", ttl=5)
        running.clock.advance(4.999)
        assert (await page(alice, "bob"))[0] == ["short", "stays"]
        running.clock.advance(0.001)
        assert (await page(alice, "bob", 1))[0] == ["stays"]
        assert (await page(alice, "bob", 1, after=0)) == (["stays"], [1], None)


async def test_many_that_ended_make_a_page_that_is_empty_and_goes_on(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-13.2-2, G9: one request looks at so many numbers and no more, whatever was sent."""
    async with a_door(settings, clock, "enterprise") as door:
        alice = await door.user("alice")
        await door.say(alice, "bob", "first")
        for number in range(600):
            door.clock.advance(0.1)
            options = frames.Options(ttl=1)
            _, stored = door.chat.messages.send(
                alice, str(number), "bob", "text", b"", options=options
            )
            await stored
        door.clock.advance(2)
        history = door.chat.history
        empty = await history.page(alice, "bob", 50)
        assert (empty.entries, empty.lost) == ((), 0)
        assert empty.next is not None
        rest = await history.page(alice, "bob", 50, before=empty.next)
        assert [entry.seq for entry in rest.entries] == [1]
        assert rest.next is None


@pytest.mark.parametrize("change", ["tier", "delete"])
async def test_changes_of_the_app_reach_its_conversations(
    running: RunningWorker, change: str
) -> None:
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
    if change == "delete":
        assert list(kept(running)) == []
        with redis.Redis.from_url(running.redis_url) as store:
            assert [key for key in store.scan_iter() if b":conv:" in key] == []


# -- deleting for oneself ------------------------------------------------------------------------


async def test_deleting_is_for_oneself(running: RunningWorker) -> None:
    """HP-13.3-1, HP-13.3-2, HP-13.3-3: for all of the user's devices; not the peer, not later."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        for text in "abc":
            await alice.say("bob", text)

        async def forget(upto: int) -> None:
            await alice.ask(frames.Forget, "bob", upto)

        await forget(2)
        async with running.client("alice", "d2") as other:
            assert (await page(other, "bob"))[0] == ["c"]
        assert (await page(alice, "bob", after=0))[0] == ["c"]
        assert (await page(alice, "bob", before=2))[0] == []
        await forget(3)
        await forget(2)
        assert (await page(alice, "bob"))[0] == []
        await forget(LAST)
        await bob.say("alice", "new")
        assert (await page(alice, "bob"))[0] == ["new"]
        assert (await page(bob, "alice"))[0] == ["new", "c", "b", "a"]


async def test_deleting_where_nothing_was_said_is_ok_and_hides_nothing_later(
    running: RunningWorker,
) -> None:
    """HP-13.3-2: there is no row yet that could hold it, and it need not be held."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await alice.ask(frames.Forget, "bob", LAST)
        await bob.say("alice", "first")
        assert (await page(alice, "bob"))[0] == ["first"]


@pytest.mark.parametrize("lost", ["row", "rows"])
async def test_deleting_works_where_the_users_row_is_gone(
    settings: Settings, clock: FakeClock, lost: str
) -> None:
    """HP-13.3-1, G10: a gateway died between storing a message and telling alice's inbox of it, or
    Redis lost her rows. What she reads in the history she can delete all the same, and a row that
    comes later does not bring it back."""
    async with a_door(settings, clock, "pro") as door:
        alice, bob = await door.user("alice"), await door.user("bob")
        for text in "abc":
            await door.say(bob, "alice", text)
        rows = Keys("sg").inbox(door.running.app.id, "alice").rows
        with redis.Redis.from_url(door.running.redis_url) as store:
            if lost == "row":
                store.hdel(rows, "bob")
            else:
                store.delete(rows)
        assert await door.texts(alice, "bob") == list("abc")
        await door.chat.history.forget(alice, "bob", 3)
        assert await door.texts(alice, "bob") == []
        await door.say(bob, "alice", "d")
        assert await door.texts(alice, "bob") == ["d"]


async def test_a_row_that_lags_is_brought_up_to_date_before_it_hides_anything(
    running: RunningWorker,
) -> None:
    """HP-13.3-1: of three messages alice's row knew two, since the gateway that stored the third
    was gone before it told her inbox. Her deletion ended at the second, and the third stayed."""
    rows = Keys("sg").inbox(running.app.id, "alice").rows
    async with running.client("alice") as alice, running.client("bob") as bob:
        await bob.say("alice", "a")
        await bob.say("alice", "b")
        with redis.Redis.from_url(running.redis_url) as store:
            behind = store.hget(rows, "bob")
            await bob.say("alice", "c")
            store.hset(rows, "bob", behind)
        await alice.ask(frames.Forget, "bob", 3)
        assert (await page(alice, "bob"))[0] == []
        await bob.say("alice", "d")
        assert (await page(alice, "bob"))[0] == ["d"]


async def test_what_was_deleted_stays_so_when_redis_came_back_older(
    running: RunningWorker,
) -> None:
    """HP-13.3-1, HP-13.3-2: the conversation came back without its last two messages, and goes on
    under another epoch. Alice had deleted up to the fourth: the two that are left stay hidden, and
    the new third, which is another message than the one that she deleted, is shown."""
    head = Keys("sg").conversation(running.app.id, "d:alice:bob").head
    async with running.client("alice") as alice, running.client("bob") as bob:
        with redis.Redis.from_url(running.redis_url) as store:
            for text in "abcd":
                await bob.say("alice", text)
                if text == "b":
                    messages = chunk(running, "d:alice:bob")
                    older = store.dump(head), store.dump(messages)
            await alice.ask(frames.Forget, "bob", 4)
            for key, value in zip((head, messages), older, strict=True):
                store.restore(key, 0, value, replace=True)
            # The server is the same here, so it is the head that has to know another one.
            packed = bytearray(store.hget(head, "h"))
            packed[38:42] = b"gone"
            store.hset(head, "h", bytes(packed))
        await alice.ask(frames.Forget, "bob", 1)
        assert (await page(alice, "bob"))[0] == []
        assert accepted(await bob.say("alice", "new third")).seq == 3
        assert (await page(alice, "bob"))[0] == ["new third"]
        assert (await page(bob, "alice"))[0] == ["new third", "b", "a"]
        await alice.ask(frames.Forget, "bob", 3)
        assert (await page(alice, "bob"))[0] == []


async def test_a_page_is_no_larger_than_a_frame(settings: Settings, clock: FakeClock) -> None:
    """HP-13.2-5: of the largest bodies there is one to a page, and none is left out."""
    async with (
        running_worker(settings, clock=clock, tier="enterprise") as running,
        running.client("alice", "d1") as alice,
    ):
        for size in (65536, 40000, 40000, 65536):
            await alice.say("bob", "x" * size)
        sizes: list[int] = []
        place: int | None = None
        while True:
            answer = await alice.ask(frames.History, "bob", before=place)
            assert len(codec.encode_ok(2**32 - 1, answer)) <= MAX_FRAME_BYTES
            sizes += [len(entry.message.body) for entry in answer.entries]
            place = answer.next
            if place is None:
                break
        assert sizes == [65536, 40000, 40000, 65536]


@pytest.mark.parametrize("over", [0, 1])
async def test_a_page_ends_at_the_byte_where_its_frame_is_full(
    settings: Settings, clock: FakeClock, over: int
) -> None:
    """HP-13.2-5: two messages that fill a frame to the byte are one page; with a byte more they are
    two. A frame of a byte too much would end the client's connection."""
    async with (
        running_worker(settings, clock=clock, tier="enterprise") as running,
        running.client("alice") as alice,
    ):
        for text in ("x" * 40_000, "x"):
            await alice.say("bob", text)
        empty = await alice.ask(frames.History, "bob")
        longest = frames.HistoryPage(empty.entries, 2**32 - 1, 2**32 - 1)
        # The body has a longer head than one byte has; so has an array of over 15 entries.
        rest = MAX_FRAME_BYTES - len(codec.encode_ok(2**32 - 1, longest)) - 1 - 2
        await alice.say("eve", "y" * 40_000)
        await alice.say("eve", "y" * (rest + 1 + over))
        found = await alice.ask(frames.History, "eve")
        assert len(found.entries) == (1 if over else 2)
        assert len(codec.encode_ok(2**32 - 1, found)) <= MAX_FRAME_BYTES


async def test_ok_waits_for_the_conversation(running: RunningWorker) -> None:
    """HP-13.1-1 and G1: a conversation that can't be written to means no ok, and a retry repairs
    it."""
    with redis.Redis.from_url(running.redis_url) as store:
        async with running.client("alice") as alice:
            await alice.say("bob", "first")
            messages = chunk(running, "d:alice:bob")
            whole = store.dump(messages)
            store.delete(messages)
            store.set(messages, "in the way")
            assert isinstance(await alice.say("bob", "x", "same"), frames.Error)
            store.restore(messages, 0, whole, replace=True)
            assert isinstance(await alice.say("bob", "x", "same"), frames.Ok)
            assert (await page(alice, "bob"))[0] == ["x", "first"]
    async with running.client("bob") as bob:
        assert [(await bob.expect(frames.Push)).number for _ in range(2)] == [1, 2]
        assert await running.under_way(bob) == []  # and no second one
