"""Receipts and unread counts, as clients see them: from frame to frame."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from gateway.apps.app import App
from gateway.chat.receipts import DirectMembers, Receipts
from gateway.chat.refused import Refused
from gateway.config import Settings
from gateway.store.receipts import Marks
from protocol import codes, frames
from protocol.frames import ClientFrame, Mark, Ok, Receipt
from tests.harness import FakeClock, RawClient, RunningWorker, running_worker


async def ask(
    client: RawClient, make: Callable[[int], ClientFrame], others: list[Any] | None = None
) -> frames.Ok | frames.Error:
    """The answer to a request; frames before it go to `others`."""
    request_id = client.request_id()
    await client.send(make(request_id))
    while True:
        frame = await client.receive()
        if isinstance(frame, frames.Ok | frames.Error) and frame.id == request_id:
            return frame
        if others is not None:
            others.append(frame)


async def mark(client: RawClient, peer: str, delivered: int, read: int = 0) -> None:
    """A mark that must be accepted."""
    answer = await ask(client, lambda id: Mark(id, peer, delivered, read))
    assert answer == Ok(answer.id)


async def refused(client: RawClient, make: Callable[[int], ClientFrame]) -> int:
    """The code of a refusal; the connection must be kept."""
    answer = await ask(client, make)
    assert isinstance(answer, frames.Error), answer
    await client.send(frames.Ping())
    await client.until(frames.Pong)
    return answer.code


async def unread(client: RawClient) -> dict[str, int]:
    """What is unread."""
    answer = await ask(client, frames.Unread)
    assert isinstance(answer, Ok)
    assert answer.result.unread is not None
    assert answer.result.more is False
    return dict(answer.result.unread)


async def receipts(client: RawClient, peer: str, time: int = 0) -> frames.Result:
    """What receipts says."""
    answer = await ask(client, lambda id: frames.Receipts(id, peer, time))
    assert isinstance(answer, Ok)
    return answer.result


async def say(client: RawClient, to: str, text: str = "x") -> int:
    """Send a message; returns its time."""
    answer = await client.say(to, text)
    assert isinstance(answer, Ok)
    assert answer.result.time is not None
    return answer.result.time


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
        time = await say(alice, "bob")
        await mark(bob, "alice", 0, time)
        assert await alice.until(Receipt) == Receipt("bob", "bob", time, time)


async def test_messages_of_one_millisecond_are_told_apart(running: RunningWorker) -> None:
    """HP-14.1-1, HP-14.1-2, HP-14.3-2: the clock stands, and still each is read by itself."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        times = [await say(alice, "bob") for _ in range(3)]
        assert sorted(set(times)) == times
        pushes = [await bob.until(frames.Push) for _ in times]
        assert [push.message.time for push in pushes] == times
        assert await unread(bob) == {"alice": 3}
        await mark(bob, "alice", 0, times[0])
        assert await unread(bob) == {"alice": 2}
        result = [(await receipts(alice, "bob", time)).reached for time in times]
        assert result == [(1, 1, 1), (1, 0, 0), (1, 0, 0)]


async def test_a_mark_at_or_below_the_watermark_changes_and_tells_nothing(
    running: RunningWorker,
) -> None:
    """HP-14.1-3: going back and repeating are ok, and silent."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        first, second = await say(alice, "bob"), await say(alice, "bob")
        await mark(bob, "alice", second, second)
        assert await alice.until(Receipt) == Receipt("bob", "bob", second, second)
        for read in (second, first, 1):
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
        time = await say(alice, "bob")
        await mark(phone, "alice", time)
        seen: list[Any] = []
        await ask(phone, lambda id: Mark(id, "alice", time, time), seen)
        await ask(phone, frames.Unread, seen)
        receipt = Receipt("alice", "bob", time, time)
        assert [frame for frame in seen if isinstance(frame, Receipt)] == [receipt]
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
        time = await say(carol, "bob")
        assert await unread(alice) == {}
        async with running.client("bob", "phone") as bob:
            assert await unread(bob) == {"alice": 2, "carol": 1}
            await bob.send(frames.Ack(3))
            await mark(bob, "carol", time, time)
            await say(bob, "alice")
        async with running.client("bob", "laptop") as bob:
            assert await unread(bob) == {"alice": 2}
        assert await unread(alice) == {"bob": 1}


async def test_a_repeated_send_is_unread_once(running: RunningWorker) -> None:
    """HP-14.3-1: and has one time, which its watermark is."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        first = await alice.say("bob", "x", "same")
        running.pass_time(1)
        again = await alice.say("bob", "x", "same")
        assert isinstance(first, Ok)
        assert isinstance(again, Ok)
        assert first.result == again.result
        assert (await bob.until(frames.Push)).message.time == first.result.time
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
        answer = await ask(bob, frames.Unread)
        assert isinstance(answer, Ok)
        rows = answer.result.unread
        assert rows is not None
        assert answer.result.more is True
        assert {peer for peer, _ in rows} == {f"u{number}" for number in range(1, 201)}


# -- misuse ------------------------------------------------------------------------------------


async def test_marking_ahead_of_what_exists_is_refused(running: RunningWorker) -> None:
    """HP-14.1-6: read or delivered, by one or by all there is; nothing is changed or told."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        time = await say(alice, "bob")
        for delivered, read in ((time + 1, 0), (0, time + 1), (time, 2**53 - 1), (2**53 - 1, time)):
            code = await refused(bob, lambda id, d=delivered, r=read: Mark(id, "alice", d, r))  # type: ignore[misc]
            assert code == codes.MARK_AHEAD.number
        assert await unread(bob) == {"alice": 1}
        assert (await receipts(alice, "bob")).receipts == []


async def test_marking_where_there_is_no_message_is_refused(running: RunningWorker) -> None:
    """HP-14.1-7: a conversation of others, or of nobody, can't be marked."""
    async with (
        running.client("alice") as alice,
        running.client("bob") as bob,
        running.client("mallory") as mallory,
    ):
        time = await say(alice, "bob")
        for peer in ("alice", "bob", "nobody", "mallory"):
            code = await refused(mallory, lambda id, p=peer: Mark(id, p, time, time))  # type: ignore[misc]
            assert code == codes.NO_CONVERSATION.number
        await mark(bob, "alice", time, time)
        for peer in ("alice", "bob"):
            result = await receipts(mallory, peer)
            assert (result.receipts, result.reached) == ([], (1, 0, 0))


async def test_marking_nothing_is_refused(running: RunningWorker) -> None:
    """HP-14.1-5."""
    async with running.client("alice") as alice:
        code = await refused(alice, lambda id: Mark(id, "bob", 0, 0))
        assert code == codes.INVALID_FIELD.number


@pytest.mark.parametrize("peer", ["g:team", "r:lobby", "a b", "d:alice:bob", "bob:", ":", "ü"])
async def test_a_peer_of_an_unknown_form_is_refused(running: RunningWorker, peer: str) -> None:
    """HP-14.1-8."""
    async with running.client("alice") as alice:
        for make in (lambda id: Mark(id, peer, 1), lambda id: frames.Receipts(id, peer)):
            assert await refused(alice, make) == codes.UNKNOWN_RECIPIENT.number


async def test_before_connected_nothing_is_answered(running: RunningWorker) -> None:
    """HP-5.1-2, for the requests of this section too."""
    for frame in (Mark(5, "bob", 1), frames.Receipts(5, "bob"), frames.Unread(5)):
        async with RawClient.open(running.url) as client:
            await client.send(frame)
            error = await client.expect(frames.Error)
            assert (error.id, error.code) == (5, codes.NOT_CONNECTED.number)
            assert await client.closed() == codes.CONNECT_EXPECTED.number


async def test_a_conversation_with_oneself_has_nothing_unread(running: RunningWorker) -> None:
    """HP-14.3-1, HP-14.2-4: there is nobody else in it."""
    async with running.client("alice") as alice:
        time = await say(alice, "alice")
        assert await unread(alice) == {}
        await mark(alice, "alice", time, time)
        result = await receipts(alice, "alice", time)
        assert (result.receipts, result.reached) == ([], (0, 0, 0))


# -- several gateways --------------------------------------------------------------------------


@pytest.fixture
async def two(
    settings: Settings, clock: FakeClock
) -> AsyncIterator[tuple[RunningWorker, RunningWorker]]:
    """Two gateways of one region."""
    async with (
        running_worker(settings, clock=clock) as one,
        running_worker(settings, clock=clock, app=one.app) as other,
    ):
        yield one, other


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
        time = await say(alice, "bob")
        await mark(phone, "alice", time, time)
        assert await alice.until(Receipt) == Receipt("bob", "bob", time, time)
        assert await laptop.until(Receipt) == Receipt("alice", "bob", time, time)
        assert await unread(laptop) == {}


async def test_marks_outlive_their_gateway(settings: Settings, clock: FakeClock) -> None:
    """HP-14.1-3, G10: what was answered ok is kept; repeating it elsewhere changes nothing."""
    async with running_worker(settings, clock=clock) as one:
        async with one.client("alice") as alice, one.client("bob") as bob:
            times = [await say(alice, "bob") for _ in range(2)]
            await mark(bob, "alice", times[0], times[0])
        app = one.app
    async with (
        running_worker(settings, clock=clock, app=app) as other,
        other.client("alice") as alice,
        other.client("bob") as bob,
    ):
        await mark(bob, "alice", times[0], times[0])
        assert await unread(bob) == {"alice": 1}
        assert (await receipts(alice, "bob")).receipts == [("bob", times[0], times[0])]


# -- as groups will use it -----------------------------------------------------------------------


class Team:
    """`Members` of a conversation that `n` others share; mallory has no part in it."""

    def __init__(self, others: int) -> None:
        self._others = others

    async def others(self, app: App, user: str, peer: str) -> Sequence[tuple[str, str]]:
        """`u0`, `u1` and so on, who call the conversation after me."""
        if user == "mallory":
            raise Refused(codes.NO_CONVERSATION)
        return [("alice", user), *((f"u{number}", "team") for number in range(self._others - 1))]


def with_team(running: RunningWorker, others: int) -> Receipts:
    """Have a gateway take every conversation for a team's; returns what answers."""
    old = running.worker._services.handlers[Mark].__self__  # type: ignore[attr-defined]
    fresh = Receipts(old._store, old._relay, Team(others))
    running.worker._services.handlers.update(fresh.handlers())
    return fresh


async def test_whoever_has_no_part_is_refused(running: RunningWorker) -> None:
    """HP-14.1-8: before anything is read or changed."""
    with_team(running, 3)
    async with running.client("alice") as alice, running.client("mallory") as mallory:
        time = await say(mallory, "bob")
        await say(alice, "bob")
        for make in (
            lambda id: Mark(id, "bob", time, time),
            lambda id: frames.Receipts(id, "bob"),
        ):
            assert await refused(mallory, make) == codes.NO_CONVERSATION.number


async def test_read_counts_are_of_the_members(running: RunningWorker) -> None:
    """HP-14.2-6, HP-14.2-5: counted over all, and rows of the 100 who read furthest."""
    team = with_team(running, 151)
    conversation = "d:alice:bob"
    for number in range(150):
        await team._store.mark(
            running.app.id, f"u{number}", conversation, Marks(1000 + number, number)
        )
    await team._store.mark(running.app.id, "gone", conversation, Marks(5000, 5000))
    async with running.client("bob") as bob:
        result = await receipts(bob, "alice", 120)
        assert result.reached == (151, 150, 30)
        assert result.receipts == [(f"u{n}", 1000 + n, n) for n in range(149, 49, -1)]


@pytest.mark.parametrize(("others", "told"), [(100, True), (101, False)])
async def test_a_large_conversation_is_not_told_live(
    running: RunningWorker, others: int, told: bool
) -> None:
    """HP-14.2-1: up to 100 people each hear of it; in a larger one they ask."""
    with_team(running, others)
    async with running.client("alice") as alice, running.client("bob") as bob:
        time = await say(alice, "bob")
        await mark(bob, "alice", time, time)
        seen: list[Any] = []
        result = await ask(alice, lambda id: frames.Receipts(id, "bob", time), seen)
        assert isinstance(result, Ok)
        expected = [Receipt("bob", "bob", time, time)] if told else []
        assert [frame for frame in seen if isinstance(frame, Receipt)] == expected


async def test_direct_members_are_the_peer() -> None:
    """The other user, who calls the conversation by mine; with oneself there is nobody."""
    app: Any = None
    assert await DirectMembers().others(app, "alice", "bob") == [("bob", "alice")]
    assert await DirectMembers().others(app, "alice", "alice") == []
