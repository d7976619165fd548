"""Receipts and unread counts, as clients see them: from frame to frame."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from homeport import codes, frames
from homeport.frames import Mark, Receipt

from gateway.config import Settings
from gateway.store.keys import Keys
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RawClient, RunningWorker, accepted, running_worker


async def mark(client: RawClient, peer: str, delivered: int, read: int = 0) -> None:
    """A mark that must be accepted."""
    await client.ask(Mark, peer, delivered, read)


async def refused(client: RawClient, request: type[frames.Request[Any]], *fields: Any) -> int:
    """The code of a refusal; the connection must be kept."""
    code = await client.refused(request, *fields)
    await client.send(frames.Ping())
    await client.until(frames.Pong)
    return code.number


async def unread(client: RawClient) -> dict[str, int]:
    """What is unread."""
    counts = await client.ask(frames.Unread)
    assert counts.more is False
    return dict(counts.rows)


async def receipts(client: RawClient, peer: str, seq: int = 0) -> frames.Reach:
    """What receipts says."""
    return await client.ask(frames.Receipts, peer, seq)


async def say(client: RawClient, to: str, text: str = "x") -> int:
    """Send a message; returns its number in the conversation."""
    return accepted(await client.say(to, text)).seq


async def test_a_mark_is_told_to_the_other_side(running: RunningWorker) -> None:
    """HP-14.2-1, HP-14.2-3, HP-14.1-4, HP-4.6-1: under the receiver's name."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        first, second = await say(alice, "bob"), await say(alice, "bob")
        await mark(bob, "alice", second)
        assert await alice.until(Receipt) == Receipt("bob", "bob", second, 0)
        await mark(bob, "alice", 0, first)
        assert await alice.until(Receipt) == Receipt("bob", "bob", second, first)
        await mark(bob, "alice", 0, second)
        assert await alice.until(Receipt) == Receipt("bob", "bob", second, second)


async def test_reading_raises_delivered_as_far(running: RunningWorker) -> None:
    """HP-14.1-4: what was read was delivered."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        seq = await say(alice, "bob")
        await mark(bob, "alice", 0, seq)
        assert await alice.until(Receipt) == Receipt("bob", "bob", seq, seq)


async def test_messages_of_one_millisecond_are_told_apart(running: RunningWorker) -> None:
    """HP-14.1-1, HP-14.3-2: the clock stands, and still each is read by itself."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        numbers = [await say(alice, "bob") for _ in range(3)]
        assert numbers == [1, 2, 3]
        pushes = [await bob.until(frames.Push) for _ in numbers]
        assert [push.seq for push in pushes] == numbers
        assert len({push.message.time for push in pushes}) == 1
        assert await unread(bob) == {"alice": 3}
        await mark(bob, "alice", 0, 1)
        assert await unread(bob) == {"alice": 2}
        result = [(await receipts(alice, "bob", number)).reached for number in numbers]
        assert result == [(1, 1, 1), (1, 0, 0), (1, 0, 0)]


async def test_unread_counts_are_exact(running: RunningWorker) -> None:
    """HP-14.3-8: past 1,000 too, where counting used to end; and reading one takes one out."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        for number in range(1100):
            name = f"c{number}"
            await alice.send(frames.Send(alice.request_id(), name, "bob", "text", b""))
        for _ in range(1100):
            await alice.until(frames.Ok)
        assert await unread(bob) == {"alice": 1100}
        await mark(bob, "alice", 0, 1)
        assert await unread(bob) == {"alice": 1099}
        await mark(bob, "alice", 0, 1098)
        assert await unread(bob) == {"alice": 2}


async def test_a_mark_at_or_below_the_watermark_changes_and_tells_nothing(
    running: RunningWorker,
) -> None:
    """HP-14.1-3: going back and repeating are ok, and silent."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        first, second = await say(alice, "bob"), await say(alice, "bob")
        await mark(bob, "alice", second, second)
        assert await alice.until(Receipt) == Receipt("bob", "bob", second, second)
        for read in (second, first):
            await mark(bob, "alice", read, read)
        third = await say(alice, "bob")
        await mark(bob, "alice", third)
        assert await alice.until(Receipt) == Receipt("bob", "bob", third, second)
        assert await unread(bob) == {"alice": 1}


async def test_reading_is_told_to_the_users_own_devices(running: RunningWorker) -> None:
    """HP-14.2-2: by the same name as they call it; delivered is not their concern."""
    async with (
        running.client("alice") as alice,
        running.client("bob", "phone") as phone,
        running.client("bob", "laptop") as laptop,
    ):
        seq = await say(alice, "bob")
        await mark(phone, "alice", seq)
        await mark(phone, "alice", seq, seq)
        await unread(phone)
        receipt = Receipt("alice", "bob", seq, seq)
        assert [frame for frame in phone.passed if isinstance(frame, Receipt)] == [receipt]
        assert await laptop.until(Receipt) == receipt
        assert await unread(laptop) == {}


async def test_who_was_not_connected_can_ask(running: RunningWorker) -> None:
    """HP-14.2-4, HP-14.2-6: watermarks are kept; one's own are not among them."""
    async with running.client("bob") as bob:
        async with running.client("alice") as alice:
            first, second = await say(alice, "bob"), await say(alice, "bob")
            assert (await receipts(alice, "bob")).receipts == []
            assert (await receipts(alice, "bob", first)).reached == (1, 0, 0)
        await mark(bob, "alice", second, first)
        assert (await receipts(bob, "alice")).receipts == []
    async with running.client("alice", "new") as alice:
        assert (await receipts(alice, "bob")).receipts == [("bob", second, first)]
        assert (await receipts(alice, "bob", first)).reached == (1, 1, 1)
        assert (await receipts(alice, "bob", second)).reached == (1, 1, 0)
        assert (await receipts(alice, "bob", second + 1)).reached == (1, 0, 0)


async def test_unread_is_counted_while_one_is_away(running: RunningWorker) -> None:
    """HP-14.3-1, HP-14.3-4: per conversation, on any device, without one's own."""
    async with running.client("alice") as alice, running.client("carol") as carol:
        await say(alice, "bob")
        await say(alice, "bob")
        seq = await say(carol, "bob")
        assert await unread(alice) == {}
        async with running.client("bob", "phone") as bob:
            assert await unread(bob) == {"alice": 2, "carol": 1}
            await bob.send(frames.Ack(3))
            await mark(bob, "carol", seq, seq)
            await say(bob, "alice")
        async with running.client("bob", "laptop") as bob:
            assert await unread(bob) == {"alice": 2}
        assert await unread(alice) == {"bob": 1}


async def test_a_repeated_send_is_unread_once(running: RunningWorker) -> None:
    """HP-14.3-1, HP-14.1-1: and has one number, which its watermark is."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        first = accepted(await alice.say("bob", "x", "same"))
        running.pass_time(1)
        assert accepted(await alice.say("bob", "x", "same")) == first
        push = await bob.until(frames.Push)
        assert (push.seq, push.message.time) == (first.seq, first.time)
        assert await unread(bob) == {"alice": 1}


async def test_unread_names_at_most_200_conversations(
    running: RunningWorker,
) -> None:
    """HP-14.3-5: the newest, and says that there are more."""
    assert running.clock is not None
    async with running.client("bob") as bob:
        for number in range(201):
            user = f"u{number}"
            running.clock.advance(0.01)
            async with running.client(user) as client:
                await say(client, "bob")
        counts = await bob.ask(frames.Unread)
        assert counts.more is True
        assert {peer for peer, _ in counts.rows} == {f"u{number}" for number in range(1, 201)}


# -- misuse ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [2, 3, 2**53 - 1])
async def test_marking_ahead_reaches_what_is_there(running: RunningWorker, ahead: int) -> None:
    """HP-14.1-10: nobody has read what was not sent yet, and it is unread when it comes."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        assert await say(alice, "bob") == 1
        await mark(bob, "alice", ahead, ahead)
        assert await alice.until(Receipt) == Receipt("bob", "bob", 1, 1)
        assert await unread(bob) == {}
        assert await say(alice, "bob") == 2
        assert (await receipts(alice, "bob", 2)).reached == (1, 0, 0)
        assert await unread(bob) == {"alice": 1}
        await mark(bob, "alice", ahead)
        assert await alice.until(Receipt) == Receipt("bob", "bob", 2, 1)


async def test_marking_what_one_wrote_reads_what_came_before_it(running: RunningWorker) -> None:
    """HP-14.1-10: the last message on the screen may be one's own, and counts like any other."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await say(alice, "bob")
        own = await say(bob, "alice")
        assert own == 2
        await mark(bob, "alice", own, own)
        assert await alice.until(Receipt) == Receipt("bob", "bob", own, own)
        assert (await receipts(alice, "bob", 1)).reached == (1, 1, 1)
        assert await unread(bob) == {}
        await say(alice, "bob")
        assert await unread(bob) == {"alice": 1}


async def test_marking_where_there_is_no_message_tells_nobody(running: RunningWorker) -> None:
    """HP-14.1-10: a conversation of others, or of nobody."""
    async with (
        running.client("alice") as alice,
        running.client("bob") as bob,
        running.client("mallory") as mallory,
    ):
        await say(alice, "bob")
        for peer in ("alice", "bob", "nobody", "mallory"):
            await mark(mallory, peer, 1, 1)
        await unread(bob)
        assert not any(isinstance(frame, Receipt) for frame in bob.passed)
        for peer in ("alice", "bob"):
            result = await receipts(mallory, peer)
            assert (result.receipts, result.reached) == ([], (1, 0, 0))


async def test_marking_nothing_is_refused(running: RunningWorker) -> None:
    """HP-14.1-5."""
    async with running.client("alice") as alice:
        code = await refused(alice, Mark, "bob", 0, 0)
        assert code == codes.INVALID_FIELD.number


@pytest.mark.parametrize(
    "peer", ["g:team", "g:", "r:lobby", "a b", "d:alice:bob", "bob:", ":", "ü"]
)
async def test_a_peer_of_an_unknown_form_is_refused(running: RunningWorker, peer: str) -> None:
    """HP-14.1-7."""
    async with running.client("alice") as alice:
        assert await refused(alice, Mark, peer, 1) == codes.UNKNOWN_RECIPIENT.number
        assert await refused(alice, frames.Receipts, peer) == codes.UNKNOWN_RECIPIENT.number


async def test_before_connected_nothing_is_answered(running: RunningWorker) -> None:
    """HP-5.1-2, for the requests of this section too."""
    for frame in (Mark(5, "bob", 1), frames.Receipts(5, "bob"), frames.Unread(5)):
        async with RawClient.open(running.url) as client:
            await client.send(frame)
            error = await client.expect(frames.Error)
            assert (error.id, error.code) == (5, codes.NOT_CONNECTED.number)
            assert await client.closed() == codes.CONNECT_EXPECTED.number


async def test_a_message_that_ended_is_counted_until_the_next_mark(running: RunningWorker) -> None:
    """HP-14.3-7: nobody takes it out of the count at its end; a mark does, though it is gone."""
    assert running.clock is not None
    async with running.client("alice") as alice, running.client("bob") as bob:
        options = frames.Options(ttl=5)
        short = await alice.ask(frames.Send, "short", "bob", "text", b"short", options)
        running.clock.advance(6)
        assert await unread(bob) == {"alice": 1}
        await mark(bob, "alice", 0, short.seq)
        assert await unread(bob) == {}


async def test_a_conversation_with_oneself_has_nothing_unread(running: RunningWorker) -> None:
    """HP-13.1-6, HP-14.3-1, HP-14.2-4: there is nobody else in it."""
    async with running.client("alice") as alice:
        seq = await say(alice, "alice")
        assert await unread(alice) == {}
        await mark(alice, "alice", seq, seq)
        result = await receipts(alice, "alice", seq)
        assert (result.receipts, result.reached) == ([], (0, 0, 0))


async def test_what_is_past_the_tiers_time_is_unread_no_longer(running: RunningWorker) -> None:
    """HP-14.3-6: to the millisecond, in each of a user's conversations at once, before anything is
    swept; what is younger is still counted."""
    assert running.clock is not None
    senders = [f"u{number}" for number in range(70)]
    async with running.client("bob") as bob:
        for text in ("old", "young"):
            for sender in senders:
                async with running.client(sender) as client:
                    await say(client, "bob", text)
            running.clock.advance(1)
    running.clock.advance(running.app.tier.retention_ms / 1000 - 2.001)
    async with running.client("bob") as bob:
        assert await unread(bob) == dict.fromkeys(senders, 2)
        running.clock.advance(0.001)
        assert await unread(bob) == dict.fromkeys(senders, 1)
        running.clock.advance(1)
        assert await unread(bob) == {}


async def test_a_mark_that_was_cut_off_is_finished_by_its_repetition(
    running: RunningWorker,
) -> None:
    """HP-14.1-3, G10: a gateway died between the watermark and the count. Repeating the mark, which
    raises nothing, takes the messages out of the count all the same."""
    rows = Keys("sg").inbox(running.app.id, "bob").rows
    async with running.client("alice") as alice, running.client("bob") as bob:
        for _ in range(3):
            await say(alice, "bob")
        with redis.Redis.from_url(running.redis_url) as store:
            before = store.hget(rows, "alice")
            await mark(bob, "alice", 2, 2)
            store.hset(rows, "alice", before)
        assert await unread(bob) == {"alice": 3}
        await mark(bob, "alice", 2, 2)
        assert await unread(bob) == {"alice": 1}


# -- several gateways --------------------------------------------------------------------------


@pytest.fixture
async def two(
    settings: Settings, clock: FakeClock
) -> AsyncIterator[tuple[RunningWorker, RunningWorker]]:
    """Two gateways of one region."""
    async with two_workers(settings, clock) as pair:
        yield pair


async def test_receipts_cross_from_one_gateway_to_another(
    two: tuple[RunningWorker, RunningWorker],
) -> None:
    """HP-14.2-1, HP-14.2-2: to the other user, and to the user's other device."""
    one, other = two
    async with (
        one.client("alice") as alice,
        other.client("bob", "phone") as phone,
        one.client("bob", "laptop") as laptop,
    ):
        seq = await say(alice, "bob")
        await mark(phone, "alice", seq, seq)
        assert await alice.until(Receipt) == Receipt("bob", "bob", seq, seq)
        assert await laptop.until(Receipt) == Receipt("alice", "bob", seq, seq)
        assert await unread(laptop) == {}


async def test_marks_outlive_their_gateway(settings: Settings, clock: FakeClock) -> None:
    """HP-14.1-3, G10: what was answered ok is kept; repeating it elsewhere changes nothing."""
    async with running_worker(settings, clock=clock) as one:
        async with one.client("alice") as alice, one.client("bob") as bob:
            assert [await say(alice, "bob") for _ in range(2)] == [1, 2]
            await mark(bob, "alice", 1, 1)
        app = one.app
    async with (
        running_worker(settings, clock=clock, app=app) as other,
        other.client("alice") as alice,
        other.client("bob") as bob,
    ):
        await mark(bob, "alice", 1, 1)
        assert await unread(bob) == {"alice": 1}
        assert (await receipts(alice, "bob")).receipts == [("bob", 1, 1)]


# -- groups --------------------------------------------------------------------------------------


async def team(owner: RawClient, *members: str) -> str:
    """A new group; returns what its members call it."""
    made = await owner.ask(frames.GroupCreate, "team", "team", list(members))
    return f"g:{made.id}"


async def test_a_group_is_unread_and_read_like_any_conversation(running: RunningWorker) -> None:
    """HP-14.3-1, HP-14.2-1, HP-14.2-3: by its name for all; its notices are not counted."""
    async with (
        running.client("alice") as alice,
        running.client("bob") as bob,
        running.client("carol") as carol,
    ):
        group = await team(alice, "bob", "carol")
        seq = await say(alice, group)
        assert await unread(bob) == {group: 1}
        assert await unread(alice) == {}
        await mark(bob, group, seq, seq)
        for hearer in (alice, carol):
            assert await hearer.until(Receipt) == Receipt(group, "bob", seq, seq)
        assert (await unread(bob), await unread(carol)) == ({}, {group: 1})
        result = await receipts(alice, group, seq)
        assert (result.receipts, result.reached) == ([("bob", seq, seq)], (2, 1, 1))


async def test_whoever_is_not_in_the_group_is_refused(running: RunningWorker) -> None:
    """HP-14.1-7: who never was, and for a group that is not."""
    async with running.client("alice") as alice, running.client("mallory") as mallory:
        group = await team(alice, "bob")
        seq = await say(alice, group)
        assert await refused(mallory, Mark, group, seq, seq) == codes.NOT_A_MEMBER.number
        assert await refused(mallory, frames.Receipts, group) == codes.NOT_A_MEMBER.number
        no_group = "g:" + "0" * 32
        code = await refused(alice, Mark, no_group, seq)
        assert code == codes.UNKNOWN_GROUP.number
        assert (await receipts(alice, group)).receipts == []


@pytest.mark.parametrize("end", ["removed", "deleted"])
async def test_who_went_reads_what_was_for_them(running: RunningWorker, end: str) -> None:
    """HP-14.1-11: up to the notice by which they went. They could never read it, and it stood in
    their unread counts for as long as the tier keeps messages."""
    async with (
        running.client("alice") as alice,
        running.client("mallory") as mallory,
        running.client("mallory", "d2") as other,
    ):
        group = await team(alice, "mallory")
        await say(alice, group)
        if end == "removed":
            await alice.ask(frames.GroupRemove, group[2:], ["mallory"])
            seq = await say(alice, group)
            assert await unread(mallory) == {group: 1}
        else:
            await alice.ask(frames.GroupDelete, group[2:])
            seq = 99
        await mark(mallory, group, seq, seq)
        assert await unread(mallory) == {}
        assert await other.until(Receipt) == Receipt(group, "mallory", 3, 3)
        assert await refused(mallory, frames.Receipts, group) in (
            codes.NOT_A_MEMBER.number,
            codes.UNKNOWN_GROUP.number,
        )
        heard = alice.passed + await running.under_way(alice)
        assert not any(isinstance(frame, Receipt) for frame in heard)


@pytest.mark.parametrize(("others", "told"), [(100, True), (101, False)])
async def test_a_large_group_is_not_told_live(
    running: RunningWorker, others: int, told: bool
) -> None:
    """HP-14.2-1, HP-14.2-6: up to 100 people each hear of it; in a larger one they ask."""
    users = [f"u{number}" for number in range(others)]
    async with running.client("alice") as alice, running.client("u0") as bob:
        group = await team(alice, *users[:99])
        await alice.ask(frames.GroupAdd, group[2:], users[99:])
        seq = await say(alice, group)
        await mark(bob, group, seq, seq)
        assert (await receipts(alice, group, seq)).reached == (others, 1, 1)
        expected = [Receipt(group, "u0", seq, seq)] if told else []
        assert [frame for frame in alice.passed if isinstance(frame, Receipt)] == expected


async def test_rows_are_of_those_who_read_furthest(running: RunningWorker) -> None:
    """HP-14.2-5: 100 rows, and numbers over all; who is out of the group is in neither."""
    users = [f"u{number}" for number in range(150)]
    async with running.client("alice") as alice:
        group = await team(alice, *users[:99])
        await alice.ask(frames.GroupAdd, group[2:], users[99:])
        head = Keys("sg").conversation(running.app.id, group).head
        rows = {f"m:{user}": f"{1000 + number} {number}" for number, user in enumerate(users)}
        with redis.Redis.from_url(running.redis_url) as store:
            store.hset(head, mapping={**rows, "m:gone": "5000 5000"})
        result = await receipts(alice, group, 120)
        assert result.reached == (150, 150, 30)
        assert result.receipts == [(f"u{n}", 1000 + n, n) for n in range(149, 49, -1)]
