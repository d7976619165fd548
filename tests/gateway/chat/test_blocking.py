"""Mirrors gateway/chat/blocking.py: who is refused what, over real sockets, on two gateways."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from homeport import codes, frames

from gateway.config import Settings
from gateway.redis.errors import Unavailable
from gateway.redis.scripts import SCRIPTS
from gateway.store import blocks as blocks_module
from gateway.store.blocks import BlockStore
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RawClient, RunningWorker, until

Two = tuple[RunningWorker, RunningWorker]


@pytest.fixture
async def two(settings: Settings, clock: FakeClock) -> AsyncIterator[Two]:
    """Two gateways of one region."""
    async with two_workers(settings, clock) as pair:
        yield pair


async def done(
    client: RawClient, kind: type[frames.Block] | type[frames.Unblock], user: str
) -> None:
    """Ask for something that must be done."""
    await client.ask(kind, user)


async def until_blocked(client: RawClient, to: str, blocked: bool = True) -> None:
    """Send until the answer is this: the word is on its way to the sender's gateway."""
    for _ in range(1000):
        answer = await client.say(to, "is it so?")
        if blocked and isinstance(answer, frames.Error):
            assert answer.code == codes.BLOCKED.number
            return
        if not blocked and isinstance(answer, frames.Ok):
            return
    raise AssertionError("the word never came")


def code(answer: frames.Ok | frames.Error) -> int:
    return answer.code if isinstance(answer, frames.Error) else 0


async def tops(worker: RunningWorker, *users: str) -> list[int]:
    """The last number of each user's inbox."""
    link, keys = worker.inside.link, worker.inside.keys
    found = [await link.call("HGET", keys.user(worker.app.id, u).meta, "q") for u in users]
    return [int(top or 0) for top in found]


async def test_a_blocked_user_connects_and_is_refused(two: Two) -> None:
    """HP-18.2-1, HP-18.2-2, HP-4.2-4: on another gateway; stored nowhere; the text is plain."""
    one, other = two
    async with one.client("alice") as alice:
        await done(alice, frames.Block, "mallory")
        async with other.client("mallory") as mallory:
            answer = await mallory.say("alice", "hello?", "c1")
            assert isinstance(answer, frames.Error)
            assert (answer.code, answer.text) == (codes.BLOCKED.number, codes.BLOCKED.meaning)
            assert (answer.retry_after, answer.details) == (None, None)
            assert await tops(one, "alice", "mallory") == [0, 0]
            assert isinstance(await mallory.say("bob", "x"), frames.Ok)
            await done(alice, frames.Unblock, "mallory")
            await until_blocked(mallory, "alice", False)
            assert isinstance(await mallory.say("alice", "hello?", "c1"), frames.Ok)


async def test_a_connected_session_hears_of_it_on_either_gateway(two: Two) -> None:
    """HP-18.2-3, HP-18.2-4: all sessions of the blocked user; what was under way arrives."""
    one, other = two
    async with (
        one.client("alice") as alice,
        one.client("mallory", "m1") as here,
        other.client("mallory", "m2") as there,
    ):
        assert isinstance(await there.say("alice", "before"), frames.Ok)
        await done(alice, frames.Block, "mallory")
        for client in (here, there):
            await until_blocked(client, "alice")
        before = await tops(one, "alice", "mallory")
        for client in (here, there):
            assert code(await client.say("alice", "now?")) == codes.BLOCKED.number
        assert await tops(one, "alice", "mallory") == before
        await done(alice, frames.Unblock, "mallory")
        for client in (here, there):
            await until_blocked(client, "alice", False)


async def test_nothing_else_changes(two: Two) -> None:
    """HP-18.2-5: what is stored is delivered, and the blocker may write."""
    one, other = two
    async with other.client("mallory") as mallory:
        await mallory.say("alice", "stored before")
        async with one.client("alice") as alice:
            await done(alice, frames.Block, "mallory")
            await until_blocked(mallory, "alice")
            assert isinstance(await alice.say("mallory", "go away"), frames.Ok)
            while (push := await mallory.until(frames.Push)).message.sender == "mallory":
                pass
            assert push.message.body == b"go away"
        async with one.client("alice", "another") as alice:
            assert (await alice.until(frames.Push)).message.body == b"stored before"


async def test_a_word_that_was_missed_is_found_by_the_regular_check(two: Two) -> None:
    """HP-18.2-3, HP-18.2-4: pub/sub may drop it; a minute later it holds all the same."""
    one, other = two
    async with one.client("alice") as alice, other.client("mallory") as mallory:
        for kind, blocked in ((frames.Block, True), (frames.Unblock, False)):
            with other.inside.deaf():
                await done(alice, kind, "mallory")
                assert (code(await mallory.say("alice", "x")) == 0) is blocked, "it was missed"
            other.pass_time(31)
            await until_blocked(mallory, "alice", blocked)


async def test_a_hole_in_the_words_is_found_by_the_next(two: Two) -> None:
    """HP-18.2-3: without waiting for the regular check."""
    one, other = two
    async with (
        one.client("alice") as alice,
        one.client("bob") as bob,
        other.client("mallory") as mallory,
    ):
        with other.inside.deaf():
            await done(alice, frames.Block, "mallory")
            await mallory.say("nobody", "a round trip, so that the word was dropped")
        await done(bob, frames.Block, "mallory")
        await until_blocked(mallory, "alice")


async def test_a_reading_that_fails_is_made_up_for(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-18.2-3: where Redis went away in between."""
    one, other = two
    failed: list[str] = []

    async def away(_: BlockStore, app_id: str, user: str) -> None:
        failed.append(user)
        raise Unavailable("away")

    async with one.client("alice") as alice, other.client("mallory") as mallory:
        with other.inside.deaf(), monkeypatch.context() as patch:
            patch.setattr(BlockStore, "blocked_by", away)
            await done(alice, frames.Block, "mallory")
            other.pass_time(31)
            await until(lambda: failed)
        other.pass_time(31)
        await until_blocked(mallory, "alice")


async def test_repeats_are_answered_alike(running: RunningWorker) -> None:
    """HP-18.1-1, HP-18.1-3, HP-18.1-5: so a client may ask again after a reconnect."""
    async with running.client("alice") as alice:
        await done(alice, frames.Unblock, "mallory")
        for user in ("zoe", "mallory", "mallory", "Bob"):
            await done(alice, frames.Block, user)
        assert (await alice.ask(frames.Blocks)).users == ("Bob", "mallory", "zoe")
        for user in ("zoe", "mallory", "mallory", "Bob"):
            await done(alice, frames.Unblock, user)
        assert (await alice.ask(frames.Blocks)).users == ()


@pytest.mark.parametrize("kind", [frames.Block, frames.Unblock])
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("alice", codes.INVALID_FIELD),
        ("g:team", codes.UNKNOWN_RECIPIENT),
        ("two words", codes.UNKNOWN_RECIPIENT),
        ("é", codes.UNKNOWN_RECIPIENT),
    ],
)
async def test_misuse_is_refused_and_the_connection_kept(
    running: RunningWorker,
    kind: type[frames.Block] | type[frames.Unblock],
    user: str,
    expected: codes.ErrorCode,
) -> None:
    """HP-18.1-2, HP-4.2-4: with a text that repeats nothing."""
    async with running.client("alice") as alice:
        answer = await alice.answer(kind, user)
        assert code(answer) == expected.number
        assert isinstance(answer, frames.Error)
        assert user not in answer.text
        assert isinstance(await alice.say("alice", "still here"), frames.Ok)


async def test_too_many_blocks_are_refused(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-18.1-4."""
    monkeypatch.setattr(blocks_module, "MAX_BLOCKS", 2)
    async with running.client("alice") as alice:
        await done(alice, frames.Block, "u1")
        await done(alice, frames.Block, "u2")
        answer = await alice.answer(frames.Block, "u3")
        assert code(answer) == codes.TOO_MANY_BLOCKS.number
        await done(alice, frames.Block, "u2")
        await done(alice, frames.Unblock, "u1")
        await done(alice, frames.Block, "u3")


async def test_while_the_store_is_away_nothing_is_promised(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-18.2-2: no ok before both halves are written."""
    async with running.client("alice") as alice:
        link = running.inside.link
        whole = link.run

        def cut(script: object, *arguments: object, **options: object) -> object:
            if script is SCRIPTS["blocked_by"]:
                raise Unavailable("away")
            return whole(script, *arguments, **options)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(link, "run", cut)
            answer = await alice.answer(frames.Block, "mallory")
        assert code(answer) == codes.UNAVAILABLE.number
        await done(alice, frames.Block, "mallory")
        async with running.client("mallory") as mallory:
            assert code(await mallory.say("alice", "x")) == codes.BLOCKED.number
