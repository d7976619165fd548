"""Recall and edit beside other features: unread counts, options, history, blocks, devices."""

from __future__ import annotations

from homeport import codes, frames
from homeport.frames import Options

from gateway.config import Settings
from tests.gateway.chat.grouping import created, done
from tests.gateway.chat.recalling import edit, history, pushed, recall, sent
from tests.gateway.chat.test_receipts import mark, unread
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RunningWorker, running_worker


async def test_unread_counts_stay_as_they_are(running: RunningWorker) -> None:
    """HP-14.3-1, HP-13.4-3: notices are not counted, a recalled message goes with the next mark,
    whether the mark names it or one beside it."""
    async with running.client("alice") as alice:
        messages = [await sent(alice, "bob", text) for text in ("a", "b", "c")]
        assert await recall(alice, "bob", messages[2]) == "ok"
        assert await edit(alice, "bob", messages[0], "A") == "ok"
        assert await recall(alice, "bob", messages[2]) == "ok"
        async with running.client("bob") as bob:
            assert await unread(bob) == {"alice": 3}
            await mark(bob, "alice", 0, messages[1].seq)
            assert await unread(bob) == {"alice": 1}
            await mark(bob, "alice", 0, messages[2].seq)
            assert await unread(bob) == {}
        assert await recall(alice, "bob", messages[0]) == "ok"  # which was read
        async with running.client("bob") as bob:
            assert await unread(bob) == {}


async def test_an_edit_keeps_the_options(running: RunningWorker) -> None:
    """HP-13.4-2: mentions, reply and end are the first's; a tombstone keeps the end only."""
    async with running.client("alice") as alice:
        first = await sent(alice, "bob", "first")
        second = await sent(alice, "bob", "second", mentions=("bob",), reply=first.seq, ttl=60)
        assert await edit(alice, "bob", second, "2nd") == "ok"
        for gone in (False, True):
            if gone:
                assert await recall(alice, "bob", second) == "ok"
            async with running.client("bob", f"d{gone}") as bob:
                await bob.expect(frames.Push)
                message = (await bob.expect(frames.Push)).message
            assert message.extra is not None
            assert message.extra.expires is not None
            assert message.extra.mentions == (() if gone else ("bob",))
            assert message.extra.reply == (None if gone else first.seq)
            assert message.extra.edits == (0 if gone else 1)


async def test_history_pages_over_tombstones(running: RunningWorker) -> None:
    """HP-13.2-2, HP-13.4-2: each place once, whatever is recalled while somebody pages."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        messages = [await sent(alice, "bob", str(n)) for n in range(6)]
        assert await recall(alice, "bob", messages[4]) == "ok"
        found: list[str] = []
        place, between = None, [1, 3]
        while True:
            page = await bob.ask(frames.History, "alice", 2, place)
            found += [entry.message.kind for entry in page.entries if entry.message.sender]
            place = page.next
            if place is None:
                break
            if between:
                assert await recall(alice, "bob", messages[between.pop()]) == "ok"
        tombstone = "homeport.recall"
        assert found == ["text", tombstone, tombstone, "text", tombstone, "text"]


async def test_what_was_only_for_who_is_online_can_not_be_recalled(running: RunningWorker) -> None:
    """HP-13.4-5, HP-12.3-1: it is stored nowhere; and a blocked sender's reaches nobody."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        message = await sent(alice, "bob", "now", online_only=True)
        assert (await bob.until(frames.Transient)).message.body == b"now"
        assert await recall(alice, "bob", message) == "unknown_message"
        await bob.send(frames.Block(bob.request_id(), "alice"))
        await bob.until(frames.Ok)
        async with running.client("alice", "d2") as other:
            options = Options(online_only=True)
            await other.send(frames.Send(7, "c7", "bob", "text", b"psst", options))
            assert (await other.until(frames.Error)).code == codes.BLOCKED.number
        await sent(bob, "bob", "mark")
        assert await pushed(bob, 1) == ["mark"]


async def test_who_left_the_group(settings: Settings, clock: FakeClock) -> None:
    """HP-13.4-1, HP-13.4-4, HP-14.2-6: a sender who was removed can't recall; an admin can; who is
    out keeps what they had and hears nothing; whom it was read by counts members only."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("bob") as bob,
        two.client("carol") as carol,
    ):
        group = f"g:{await created(alice, 'bob', 'carol')}"
        message = await sent(bob, group, "hi")
        await mark(carol, group, 0, message.seq)
        await done(alice, "remove", group[2:], ["bob"])
        assert await recall(bob, group, message) == "not_a_member"
        assert await edit(bob, group, message, "x") == "not_a_member"
        assert await recall(alice, group, message) == "ok"
        assert await history(carol, group) == ["recalled by alice"]
        await done(alice, "remove", group[2:], ["carol"])
        reach = await alice.ask(frames.Receipts, group, message.seq)
        assert (reach.receipts, reach.reached) == ([], (0, 0, 0))


async def test_a_device_displaced_while_it_recalls(running: RunningWorker) -> None:
    """HP-13.4-8, G10: what it began is done or not, whole; its repetition elsewhere says ok."""
    async with running.client("alice", "d1") as alice:
        message = await sent(alice, "bob", "oops")
        await alice.send(frames.Recall(alice.request_id(), "bob", message.seq))
        async with running.client("alice", "d1") as again:
            assert await recall(again, "bob", message) == "ok"
            assert await history(again, "bob") == ["recalled by alice"]
    async with running.client("bob") as bob:
        assert await pushed(bob, 2) == ["recalled by alice", "told recalled by alice"]
        assert await running.under_way(bob) == []  # and nothing twice


async def test_recalls_have_the_sessions_rate(settings: Settings, clock: FakeClock) -> None:
    """HP-17.1-2: as any other request; what was refused by the rate is not done."""
    async with (
        running_worker(settings, tier="free", clock=clock) as running,
        running.client("alice") as alice,
    ):
        message = await sent(alice, "bob", "kept")
        for _ in range(500):
            await alice.send(frames.PresenceGet(alice.request_id(), ("bob",)))
        for _ in range(500):
            await alice.receive()
        assert await recall(alice, "bob", message) == "rate_limited"
        assert await edit(alice, "bob", message, "x") == "rate_limited"
        clock.advance(60)
        assert await history(alice, "bob") == ["kept"]
