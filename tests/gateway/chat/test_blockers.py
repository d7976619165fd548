"""Mirrors gateway/chat/blockers.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis
from homeport import codes, frames

from gateway.chat import blockers as blockers_module
from gateway.chat.blockers import BlockerCache, HeardBlockers
from gateway.chat.refused import Refused
from gateway.redis.errors import Unavailable
from gateway.store import blocks as blocks_module
from gateway.store.blocks import PAGE, BlockedBy, Everybody
from gateway.store.events import BlockChanged
from tests.gateway.chat.test_blocking import until_blocked
from tests.harness import RawClient, RunningWorker


def state(change: int, *users: str) -> BlockedBy:
    return BlockedBy(change, frozenset(users))


def blocked(blockers: HeardBlockers, user: str) -> bool:
    try:
        blockers.admit(user)
    except Refused as refused:
        assert refused.code is codes.BLOCKED
        return True
    return False


def test_changes_are_heard_in_order() -> None:
    """HP-18.2-3, HP-18.2-4: blocked, and let in again."""
    blockers = HeardBlockers("app", "alice")
    assert not blockers.read(state(3, "bob"))
    assert blocked(blockers, "bob")
    assert not blockers.hear(BlockChanged(4, True, "carol"))
    assert not blockers.hear(BlockChanged(5, False, "bob"))
    assert (blocked(blockers, "bob"), blocked(blockers, "carol")) == (False, True)
    assert not blockers.differs(5)
    assert blockers.differs(6)


def test_an_old_change_undoes_nothing() -> None:
    """HP-18.2-2: heard before the first reading was answered, but older than it."""
    blockers = HeardBlockers("app", "alice")
    blockers.hear(BlockChanged(3, False, "bob"))  # and then number 4 blocked again
    assert not blockers.read(state(4, "bob"))
    assert blocked(blockers, "bob")
    assert not blockers.hear(BlockChanged(3, False, "bob"))
    assert blocked(blockers, "bob")


def test_a_change_heard_while_reading_counts() -> None:
    """HP-18.2-3: the reading is from before it."""
    blockers = HeardBlockers("app", "alice")
    blockers.hear(BlockChanged(5, True, "bob"))
    assert not blockers.read(state(4))
    assert blocked(blockers, "bob")
    blockers.begin()
    blockers.hear(BlockChanged(6, True, "carol"))
    assert blocked(blockers, "carol"), "not only once the reading ends"
    assert not blockers.read(state(5, "bob"))
    assert blocked(blockers, "carol")


def test_a_hole_in_the_changes_asks_for_a_reading() -> None:
    """HP-18.2-3: a missed change shows at the next one; it is read once, not at every change."""
    blockers = HeardBlockers("app", "alice")
    blockers.read(state(1))
    assert blockers.hear(BlockChanged(3, True, "carol"))
    blockers.begin()
    assert not blockers.read(state(3, "bob", "carol"))
    assert blocked(blockers, "bob")


def test_a_hole_right_behind_a_reading_asks_again() -> None:
    """HP-18.2-3: also where the hole lies in what was heard meanwhile."""
    blockers = HeardBlockers("app", "alice")
    blockers.hear(BlockChanged(7, True, "bob"))
    assert blockers.read(state(4))


def test_a_failed_reading_is_made_up_for() -> None:
    """HP-18.2-3: the next comparison differs, whatever it says."""
    blockers = HeardBlockers("app", "alice")
    blockers.read(state(1))
    blockers.begin()
    blockers.failed()
    assert blockers.differs(1)
    assert not blockers.known


def test_a_store_that_came_back_older_is_believed() -> None:
    """HP-18.2-3: numbers lower than those heard do not lock a reading out."""
    blockers = HeardBlockers("app", "alice")
    blockers.read(state(9, "bob"))
    blockers.begin()
    blockers.read(state(2, "carol"))
    assert (blocked(blockers, "bob"), blocked(blockers, "carol")) == (False, True)
    assert not blockers.differs(2)


def test_nobody_blocks_a_new_user() -> None:
    """HP-18.2-1: without a block nothing is refused."""
    blockers = HeardBlockers("app", "alice")
    blockers.read(state(0))
    blockers.admit("bob")
    with pytest.raises(Refused):
        blockers.hear(BlockChanged(1, True, "bob"))
        blockers.admit("bob")


class Blocks:
    """A store whose answers come when they are let."""

    def __init__(self, *answers: BlockedBy | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.let = asyncio.Event()

    async def blocked_by(self, app_id: str, user: str) -> BlockedBy:
        self.asked += 1
        await self.let.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def cache_of(*answers: BlockedBy | Exception) -> tuple[BlockerCache, Blocks]:
    """A cache over such a store."""
    blocks: Any = Blocks(*answers)
    return BlockerCache(blocks), blocks


async def test_sessions_of_a_user_share_one_reading() -> None:
    """HP-18.2-7, G9: those that connect meanwhile, and those that come later; all are told."""
    cache, blocks = cache_of(state(3, "bob"))
    told: list[str] = []
    mine = cache.hold("app", "alice", "s1")
    assert cache.hold("app", "alice", "s2") is mine
    mine.told["s2"] = lambda: told.append("s2")
    with pytest.raises(Refused):
        mine.admit("carol")
    connecting = [asyncio.create_task(cache.attached(mine, 3)) for _ in range(5)]
    await asyncio.sleep(0)
    blocks.let.set()
    await asyncio.gather(*connecting)
    await cache.attached(mine, 3)
    assert (blocks.asked, told, blocked(mine, "bob")) == (1, ["s2"], True)


async def test_what_is_known_of_a_user_outlives_the_last_session() -> None:
    """HP-18.2-7, G9: who comes again costs no reading, unless something changed meanwhile; and
    nothing is read of a user whom nobody ever blocked."""
    cache, blocks = cache_of(state(3, "bob"), state(4, "bob", "carol"))
    blocks.let.set()
    for change in (3, 3, 4):
        mine = cache.hold("app", "alice", "s")
        await cache.attached(mine, change)
        assert blocked(mine, "carol") is (change == 4)
        cache.release(mine, "s")
        cache.release(mine, "s")
    assert blocks.asked == 2
    nobody = cache.hold("app", "eve", "s")
    await cache.attached(nobody, 0)
    nobody.admit("bob")
    assert blocks.asked == 2


async def test_users_who_are_gone_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """G9: of those, so many blockers are kept together; the longest unused go."""
    monkeypatch.setattr(blockers_module, "IDLE", 5)
    users = [f"u{n}" for n in range(4)]
    cache, blocks = cache_of(*(state(1, "a", "b") for _ in range(6)))
    blocks.let.set()
    for user in (*users, users[-1], users[0]):
        mine = cache.hold("app", user, "s")
        await cache.attached(mine, 1)
        cache.release(mine, "s")
    assert blocks.asked == 5


async def test_a_reading_that_fails_is_made_up_for_by_the_next() -> None:
    """HP-18.2-3: who waited for it reads by itself."""
    cache, blocks = cache_of(Unavailable("away"), state(1, "bob"))
    mine = cache.hold("app", "alice", "s")
    readings = [asyncio.create_task(cache.attached(mine, 1)) for _ in range(2)]
    await asyncio.sleep(0)
    blocks.let.set()
    found = await asyncio.gather(*readings, return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable, type(None)]
    assert blocked(mine, "bob")


async def blocked_by_many(running: RunningWorker, store: redis.Redis, user: str, many: int) -> None:
    """As after so many requests to block `user`."""
    key = running.inside.keys.user(running.app.id, user).blocked_by
    with store.pipeline() as pipeline:
        for start in range(0, many, 1000):
            names = {f"blocker{n}": 1 for n in range(start, start + 1000)}
            pipeline.hset(key, mapping=names)  # type: ignore[arg-type]
        pipeline.hset(key, "", many)
        pipeline.execute()


async def test_who_is_blocked_by_thousands_connects_as_anybody(
    running: RunningWorker, store: redis.Redis
) -> None:
    """HP-18.2-1, HP-18.2-7, G9: 20,000 users block mallory. Each connect once read them all in one
    script and took Redis 22 to 39 ms; all other users waited for that. Now they are read once for
    the process, in pages, and hold nobody up."""
    await blocked_by_many(running, store, "mallory", 20_000)
    async with running.client("mallory") as mallory:
        assert (await refused(mallory, "blocker19999")).name == "blocked"
        assert isinstance(await mallory.say("bob", "x"), frames.Ok)
    store.config_resetstat()
    told = store.info("stats")["total_net_output_bytes"]
    connects = 20
    for _ in range(connects):
        async with running.client("mallory") as mallory:
            assert (await refused(mallory, "blocker0")).name == "blocked"
    after: dict[str, Any] = store.info("commandstats")
    assert "cmdstat_hscan" not in after
    assert store.info("stats")["total_net_output_bytes"] - told < connects * 10_000


async def test_blocks_of_thousands_are_read_in_pages(
    running: RunningWorker, store: redis.Redis
) -> None:
    """HP-18.2-7, G9: no command reads more than a page or two."""
    await blocked_by_many(running, store, "mallory", 20_000)
    store.config_resetstat()
    async with running.client("mallory"):
        pass
    stats: dict[str, Any] = store.info("commandstats")
    assert 20_000 / PAGE / 2 <= stats["cmdstat_hscan"]["calls"] <= 20_000 / PAGE
    assert stats["cmdstat_hscan"]["usec_per_call"] < 5000


async def test_who_is_blocked_by_too_many_is_blocked_by_everybody(
    running: RunningWorker, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-18.2-7: of users, not of groups, nor of oneself; and an unblock does not undo it."""
    monkeypatch.setattr(blocks_module, "MAX_BLOCKERS", 999)
    await blocked_by_many(running, store, "mallory", 1000)
    async with running.client("mallory") as mallory, running.client("bob") as bob:
        assert (await refused(mallory, "bob")).name == "blocked"
        assert isinstance(await mallory.say("mallory", "x"), frames.Ok)
        made = await mallory.ask(frames.GroupCreate, "c1", "team", ["bob"])
        assert isinstance(await mallory.say(f"g:{made.id}", "x"), frames.Ok)
        view = await mallory.ask(frames.GroupGet, made.id)
        assert view.size == 1
        await bob.ask(frames.Block, "mallory")
        await bob.ask(frames.Unblock, "mallory")
        await until_blocked(mallory, "bob")
    everybody = Everybody("mallory")
    assert ("bob" in everybody, "mallory" in everybody, "g:x" in everybody) == (True, False, False)


async def refused(client: RawClient, to: str) -> codes.ErrorCode:
    """Why a message is refused."""
    answer = await client.say(to, "x")
    assert isinstance(answer, frames.Error), answer
    return codes.ERRORS[answer.code]
