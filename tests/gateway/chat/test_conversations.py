"""The list of a user's conversations, as clients see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from homeport import codec, frames
from homeport.frames import ConversationRow, Mark
from homeport.frames.conversations import RowPlace
from homeport.limits import MAX_FRAME_BYTES
from structlog.testing import capture_logs

from gateway.config import Settings
from gateway.store.keys import Keys
from tests.gateway.chat.doors import a_door
from tests.gateway.chat.grouping import created, done, said
from tests.gateway.chat.keeping import chunk
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


@pytest.fixture
async def running(store_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[RunningWorker]:
    """A gateway on each of both stores, because the scripts are involved."""
    async with running_worker(make_settings(store_url, tmp_path), clock=clock) as running:
        yield running


async def listed(client: RawClient, limit: int = 50) -> list[ConversationRow]:
    """All conversations, page by page; each page must fit a frame."""
    rows: list[ConversationRow] = []
    after: RowPlace | None = None
    while True:
        page = await client.ask(frames.Conversations, limit, after)
        assert len(codec.encode_ok(2**32 - 1, page)) <= MAX_FRAME_BYTES
        assert len(page.conversations) <= limit
        rows += page.conversations
        if page.next is None:
            return rows
        after = page.next


def shortly(row: ConversationRow) -> tuple[str, int, int, int, str | None]:
    """Peer, number of the last message, unread, read up to, text of the last message."""
    text = row.message.body.decode() if row.message is not None else None
    return row.peer, row.seq, row.unread, row.read, text


async def test_a_new_device_fills_its_screen_with_one_request(running: RunningWorker) -> None:
    """HP-13.5-1, HP-13.5-2: newest first, each with its last message, what is unread, and how far
    its user has read."""
    clock = running.clock
    assert clock is not None
    async with running.client("alice") as alice, running.client("carol") as carol:
        for text in ("one", "two", "three"):
            await alice.say("bob", text)
        clock.advance(1)
        await carol.say("bob", "hi")
        clock.advance(1)
        async with running.client("bob") as bob:
            await bob.ask(Mark, "alice", 0, 2)
            told = accepted(await bob.say("dan", "yo"))
            clock.advance(1)
            await bob.say("bob", "note")
    async with running.client("bob", "new") as bob:
        rows = await listed(bob)
        assert [shortly(row) for row in rows] == [
            ("bob", 1, 0, 0, "note"),
            ("dan", 1, 0, 0, "yo"),
            ("carol", 1, 1, 0, "hi"),
            ("alice", 3, 1, 2, "three"),
        ]
        assert rows[1].time == told.time == clock.ms - 1000
        assert [row.until for row in rows] == [0] * 4
        assert [row.time for row in rows] == [row.message.time for row in rows if row.message]
    async with running.client("eve") as eve:
        assert await listed(eve) == []


async def test_pages_follow_each_other(running: RunningWorker) -> None:
    """HP-13.5-6: each conversation once, whatever the size of a page, also those whose last
    messages are of one millisecond."""
    clock = running.clock
    assert clock is not None
    peers = [f"u{number:02}" for number in range(30)]
    async with running.client("bob") as bob:
        for number, peer in enumerate(peers):
            clock.advance(0.001 * (number % 3 == 0))
            await bob.say(peer, peer)
        expected = [row.peer for row in await listed(bob, 100)]
        assert sorted(expected) == peers
        for size in (1, 7, 29, 30, 31):
            rows = await listed(bob, size)
            assert [row.peer for row in rows] == expected
            assert all(row.message and row.message.to == row.peer for row in rows)
        assert [row.time for row in rows] == sorted((row.time for row in rows), reverse=True)


async def test_a_conversation_moves_to_the_front_with_its_next_message(
    running: RunningWorker,
) -> None:
    """HP-13.5-1: whoever wrote it; and stands once."""
    assert running.clock is not None
    async with running.client("alice") as alice, running.client("bob") as bob:
        await alice.say("bob", "one")
        for peer in ("carol", "alice"):
            running.clock.advance(1)
            await bob.say(peer, f"to {peer}")
            assert (await listed(bob))[0].peer == peer
        assert [row.peer for row in await listed(bob)] == ["alice", "carol"]


async def test_a_page_of_large_messages_ends_where_its_frame_is_full(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-13.5-5: of the largest bodies there is one to a page; the next goes on after it, and none
    is left out."""
    async with (
        running_worker(settings, clock=clock, tier="enterprise") as running,
        running.client("bob") as bob,
    ):
        sizes = (65_536, 10, 40_000, 33_000, 65_536, 65_536, 10, 10)
        for number, size in enumerate(sizes):
            clock.advance(1)
            await bob.say(f"u{number}", "x" * size)
        rows = await listed(bob, 100)
        assert [len(row.message.body) for row in rows if row.message] == list(reversed(sizes))
        first = await bob.ask(frames.Conversations, 100)
        assert [row.peer for row in first.conversations] == ["u7", "u6", "u5"]
        assert first.next == (first.conversations[-1].time, "u5")


async def test_many_large_messages_are_not_all_read_for_one_page(
    settings: Settings, clock: FakeClock
) -> None:
    """G9: whoever is written to by many with large messages makes no one request read them all,
    also where their conversations lie in as many buckets."""
    async with a_door(settings, clock, "enterprise") as door:
        for number in range(100):
            user = await door.user(f"a{number}")  # before bob, so the conversation lies with them
            await door.say(user, "bob", "x" * 30_000)
        bob = await door.user("bob")
        with redis.Redis.from_url(door.running.redis_url) as store:
            store.config_resetstat()
            page = await door.chat.conversations.page(bob, 100)
            used = store.info("stats")["total_net_output_bytes"]
            read = store.info("commandstats")["cmdstat_hmget"]["calls"]
        assert len(page.conversations) == 2
        assert used < 3 * 31_000  # one frame's worth, and the rows
        assert read <= 5  # of the others Redis looks at the size


# -- what is not shown ---------------------------------------------------------------------------


async def test_what_was_forgotten_is_not_shown(running: RunningWorker) -> None:
    """HP-13.5-4, HP-13.3-1: the conversation stays, its last message is nil for who deleted it; the
    other one sees it, and the next message is shown to both."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        for text in ("one", "two"):
            await alice.say("bob", text)
        await bob.ask(frames.Forget, "alice", 1)
        assert shortly((await listed(bob))[0]) == ("alice", 2, 2, 0, "two")
        await bob.ask(frames.Forget, "alice", 2)
        assert shortly((await listed(bob))[0]) == ("alice", 2, 2, 0, None)
        assert shortly((await listed(alice))[0]) == ("bob", 2, 0, 0, "two")
        await alice.say("bob", "three")
        assert shortly((await listed(bob))[0]) == ("alice", 3, 3, 0, "three")


async def test_what_has_ended_is_not_shown(running: RunningWorker) -> None:
    """HP-13.5-4, HP-12.2-1: to the millisecond."""
    assert running.clock is not None
    async with running.client("alice") as alice, running.client("bob") as bob:
        await send(alice, "bob", "short", ttl=5)
        running.clock.advance(4.999)
        assert shortly((await listed(bob))[0]) == ("alice", 1, 1, 0, "short")
        running.clock.advance(0.001)
        assert shortly((await listed(bob))[0]) == ("alice", 1, 1, 0, None)


async def test_what_is_kept_out_of_the_history_is_not_shown(running: RunningWorker) -> None:
    """HP-13.5-4, HP-13.1-1: history false reaches devices once, and is read nowhere afterwards."""
    async with running.client("alice") as alice:
        await send(alice, "bob", "off the record", history=False)
    async with running.client("bob") as bob:
        assert shortly((await listed(bob))[0]) == ("alice", 1, 1, 0, None)


async def test_a_conversation_goes_with_its_last_message(running: RunningWorker) -> None:
    """HP-13.5-1, G4: past the tier's time it is listed no more, before anything is swept; and what
    is unread is what is young enough."""
    assert running.clock is not None
    async with running.client("alice") as alice, running.client("carol") as carol:
        await alice.say("bob", "old")
        await carol.say("bob", "only")
        running.clock.advance(1)
        await alice.say("bob", "young")
    running.clock.advance(running.app.tier.retention_ms / 1000 - 1.001)
    async with running.client("bob") as bob:
        rows = [shortly(row) for row in await listed(bob, 1)]
        assert rows == [("alice", 2, 2, 0, "young"), ("carol", 1, 1, 0, "only")]
        running.clock.advance(0.001)
        assert [shortly(row) for row in await listed(bob, 1)] == [("alice", 2, 1, 0, "young")]
        running.clock.advance(1)
        assert await listed(bob) == []


async def test_a_message_that_was_moved_there_is_not_shown(running: RunningWorker) -> None:
    """HP-13.5-4, G6, G7: whoever can write to Redis can't show bob another conversation's message,
    nor keep him from his list; the operator sees an error."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await alice.say("carol", "for carol")
        await alice.say("bob", "for bob")
        with redis.Redis.from_url(running.redis_url) as store:
            moved = store.hget(chunk(running, "d:alice:carol"), "1")
            store.hset(chunk(running, "d:alice:bob"), "1", moved)
        with capture_logs() as lines:
            assert shortly((await listed(bob))[0]) == ("alice", 1, 1, 0, None)
        assert "record_tampered" in [line["event"] for line in lines]


async def test_a_chunk_that_is_lost_leaves_the_list_whole(running: RunningWorker) -> None:
    """HP-13.5-4, G5: the row says which number is the last, and no message is shown."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await alice.say("bob", "x")
        await bob.say("carol", "y")
        with redis.Redis.from_url(running.redis_url) as store:
            store.delete(chunk(running, "d:alice:bob"))
        rows = {row.peer: shortly(row) for row in await listed(bob)}
        assert rows["alice"] == ("alice", 1, 1, 0, None)
        assert rows["carol"] == ("carol", 1, 0, 0, "y")


# -- groups --------------------------------------------------------------------------------------


async def test_a_group_stands_among_the_conversations(running: RunningWorker) -> None:
    """HP-13.5-1: from the notice that tells of it on, which counts nothing."""
    assert running.clock is not None
    async with running.client("alice") as alice, running.client("bob") as bob:
        group = f"g:{await created(alice, 'bob')}"
        (row,) = await listed(bob)
        assert (row.peer, row.unread) == (group, 0)
        assert row.message is not None
        assert row.message.kind == "homeport.group"
        await said(alice, group[2:], "hello")
        (row,) = await listed(bob)
        assert shortly(row) == (group, 2, 1, 0, "hello")
        running.clock.advance(running.app.tier.retention_ms / 1000)
        assert [shortly(row) for row in await listed(bob)] == [(group, 2, 0, 0, None)], (
            "it is there for as long as bob is in it (HP-13.5-1)"
        )


async def test_who_went_from_a_group_sees_where_it_ended_for_them(running: RunningWorker) -> None:
    """HP-13.5-3, HP-11.2-6: `until`, and of the messages after it neither number nor text."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        group = await created(alice, "bob")
        await said(alice, group, "before")
        await done(alice, "remove", group, ["bob"])
        await said(alice, group, "after")
        (row,) = await listed(bob)
        assert (row.peer, row.until) == (f"g:{group}", row.seq)
        assert row.message is not None
        assert row.message.kind == "homeport.group"
        (row,) = await listed(alice)
        assert (row.until, row.message and row.message.body) == (0, b"after")


async def test_rows_of_a_user_are_of_that_user(running: RunningWorker) -> None:
    """HP-13.5-4: a row that was put among bob's for a conversation that is not his shows nothing of
    it."""
    keys = Keys("sg")
    async with running.client("alice") as alice, running.client("bob") as bob:
        await alice.say("carol", "for carol")
        await alice.say("bob", "for bob")
        with redis.Redis.from_url(running.redis_url) as store:
            row = store.hget(keys.inbox(running.app.id, "alice").rows, "carol")
            store.hset(keys.inbox(running.app.id, "bob").rows, "carol", row)
        rows = {row.peer: shortly(row) for row in await listed(bob)}
        assert rows["carol"] == ("carol", 1, 0, 0, None)
