"""Mirrors gateway/store/blocks.py, block.lua and blocked_by.lua, on both kinds of store."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.apps.tiers import TIERS
from gateway.redis.errors import Unavailable
from gateway.redis.link import Link
from gateway.redis.scripts import SCRIPTS, Script
from gateway.store import blocks as blocks_module
from gateway.store.blocks import BlockedBy, BlockStore, TooManyBlocks
from gateway.store.conversations import ConversationStore
from gateway.store.inbox import PROFILE_MS, InboxStore
from gateway.store.keys import Keys
from tests.gateway.store.conftest import Store

APP = "02" + "ab" * 15
TIER = TIERS["free"]
NOW = 1_764_000_000_000
KEYS = Keys("sg")


class Harness:
    """`BlockStore`, with the arguments that do not matter filled in."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.blocks = BlockStore(link, KEYS)

    async def change(self, user: str, other: str, blocked: bool, now_ms: int = NOW) -> None:
        await self.blocks.change(APP, TIER, user, other, blocked, now_ms)

    async def blockers(self, user: str) -> set[str]:
        return set((await self.blocks.blocked_by(APP, user)).users)

    async def list(self, user: str) -> tuple[str, ...]:
        return await self.blocks.list(APP, user)

    async def sweep(self, user: str, now_ms: int, retention: int, profile: int) -> None:
        inboxes = InboxStore(self.link, KEYS, ConversationStore(self.link, KEYS))
        await inboxes.sweep(APP, user, now_ms, retention, profile)


@pytest.fixture
def halves(store: Store) -> Harness:
    """Blocks, on both kinds of store."""
    return Harness(store.link)


async def test_a_block_is_in_both_halves(halves: Harness) -> None:
    """HP-18.1-5, HP-18.2-2: the list of the one, the blockers of the other."""
    await halves.change("alice", "zoe", True)
    await halves.change("alice", "bob", True)
    await halves.change("carol", "bob", True)
    assert await halves.list("alice") == ("bob", "zoe")
    assert await halves.blockers("bob") == {"alice", "carol"}
    await halves.change("alice", "bob", False)
    assert await halves.list("alice") == ("zoe",)
    assert await halves.blockers("bob") == {"carol"}
    assert await halves.list("bob") == ()


async def test_repeats_change_nothing(halves: Harness) -> None:
    """HP-18.1-3: a block twice, an unblock twice, an unblock of nobody."""
    before = await halves.link.call("DBSIZE")
    await halves.change("alice", "bob", False)
    assert await halves.link.call("DBSIZE") == before
    for blocked in (True, True, False, False):
        await halves.change("alice", "bob", blocked)
        assert (await halves.list("alice") == ("bob",)) is blocked
        assert (await halves.blockers("bob") == {"alice"}) is blocked


async def test_the_list_is_bounded(halves: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """HP-18.1-4: a new one is refused, an old one is not, and one taken back makes room."""
    monkeypatch.setattr(blocks_module, "MAX_BLOCKS", 2)
    await halves.change("alice", "u1", True)
    await halves.change("alice", "u2", True)
    await halves.change("alice", "u2", True)
    with pytest.raises(TooManyBlocks):
        await halves.change("alice", "u3", True)
    assert await halves.blockers("u3") == set()
    await halves.change("alice", "u1", False)
    await halves.change("alice", "u3", True)
    assert await halves.list("alice") == ("u2", "u3")


@pytest.mark.parametrize("blocked", [True, False])
async def test_a_change_that_broke_off_is_completed_by_its_repeat(
    halves: Harness, monkeypatch: pytest.MonkeyPatch, blocked: bool
) -> None:
    """HP-18.2-2, HP-18.2-4: the second half was not written; the client asks again."""
    await halves.change("alice", "bob", not blocked)
    whole = halves.link.run

    def first_half_only(script: Script, *arguments: Any, **options: Any) -> Any:
        if script is SCRIPTS["blocked_by"]:
            raise Unavailable("cut")
        return whole(script, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(halves.link, "run", first_half_only)
        with pytest.raises(Unavailable):
            await halves.change("alice", "bob", blocked, NOW + 5)
    assert (await halves.blockers("bob") == {"alice"}) is not blocked
    await halves.change("alice", "bob", blocked, NOW + 9)
    assert (await halves.blockers("bob") == {"alice"}) is blocked
    assert (await halves.list("alice") == ("bob",)) is blocked


@pytest.mark.parametrize("last", [True, False])
async def test_halves_that_overtake_each_other_agree_in_the_end(
    halves: Harness, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    """HP-18.1-5, HP-18.2-2: two devices at once on two gateways; the list and the effect agree."""
    held: list[tuple[Any, ...]] = []
    whole = halves.link.run

    def hold(script: Script, *arguments: Any, **options: Any) -> Any:
        if script is SCRIPTS["blocked_by"]:
            held.append((script, *arguments))
            return halves.link.call("PING")
        return whole(script, *arguments, **options)

    await halves.change("alice", "bob", last)
    with monkeypatch.context() as patch:
        patch.setattr(halves.link, "run", hold)
        await halves.change("alice", "bob", not last, NOW + 1)
        await halves.change("alice", "bob", last, NOW + 1)
    for late in reversed(held):
        await halves.link.run(*late)
    assert (await halves.list("alice") == ("bob",)) is last
    assert (await halves.blockers("bob") == {"alice"}) is last


async def test_an_older_store_does_not_lock_a_block_out(halves: Harness) -> None:
    """HP-18.2-2: where the blocker's half was lost, new versions are still newer."""
    for n in range(5):
        await halves.change("alice", "bob", n % 2 == 0, NOW + n)
    await halves.change("alice", "bob", False, NOW + 5)
    await halves.link.call("DEL", KEYS.user(APP, "alice").blocks)
    await halves.change("alice", "bob", True, NOW + 1000)
    assert await halves.blockers("bob") == {"alice"}


async def test_changes_are_numbered_without_a_hole(halves: Harness) -> None:
    """HP-18.2-3: so a session can see that it missed one; nothing changed has no number."""
    numbers = []
    for blocked in (True, False, False, True):
        await halves.change("alice", "bob", blocked)
        numbers.append((await halves.blocks.blocked_by(APP, "bob")).change)
    assert numbers == [1, 2, 2, 3]
    assert await halves.blocks.blocked_by(APP, "nobody") == BlockedBy(0, frozenset())


async def test_a_block_outlives_the_tiers_time(halves: Harness) -> None:
    """HP-18.1-6: the sweeper takes the profile of a user unseen for half a year, not the block."""
    await halves.change("alice", "bob", True)
    due = KEYS.user(APP, "bob").due
    for user in ("alice", "bob"):
        await halves.sweep(user, NOW + 2 * PROFILE_MS, TIER.retention_ms, PROFILE_MS)
    assert await halves.list("alice") == ("bob",)
    assert await halves.blockers("bob") == {"alice"}
    assert await halves.link.call("ZSCORE", due, f"{APP}:bob") is not None


async def test_a_deleted_apps_blocks_go(halves: Harness) -> None:
    """HP-18.1-6: nothing of it stays."""
    before = await halves.link.call("DBSIZE")
    await halves.change("alice", "bob", True)
    for user in ("alice", "bob"):
        await halves.sweep(user, NOW, 0, 0)
    assert await halves.link.call("DBSIZE") == before


async def test_what_was_taken_back_does_not_stay_for_ever(halves: Harness) -> None:
    """G9: an unblock is remembered only until the sweeper comes."""
    await halves.change("alice", "bob", True)
    await halves.change("alice", "bob", False)
    await halves.sweep("bob", NOW + TIER.retention_ms, TIER.retention_ms, PROFILE_MS)
    assert await halves.link.call("HEXISTS", KEYS.user(APP, "bob").blocked_by, "alice") == 0
