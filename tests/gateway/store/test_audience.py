"""Mirrors gateway/store/audience.py."""

from __future__ import annotations

import asyncio

import pytest
from homeport.ids import GROUP, direct_conversation

from gateway.redis.errors import Unavailable
from gateway.store.audience import AllStored, audience_of
from gateway.store.keys import Keys

KEYS = Keys("sg")
APP = "02" + "a" * 30
GROUP_ID = "ab" * 16
MANY = [f"u{number}" for number in range(300)]


def test_each_call_stays_in_one_bucket_and_no_one_is_forgotten() -> None:
    """G3: a script may not touch two buckets, as a cluster has them on two servers."""
    audience = audience_of(KEYS, APP, MANY, GROUP + GROUP_ID)
    buckets = [part.bucket for part in audience]
    assert len(set(buckets)) == len(buckets)
    named = {user: KEYS.user(APP, user) for user in MANY}
    for part in audience:
        here = [each for each in named.values() if each.bucket == part.bucket]
        assert list(part.inboxes) == [each.inbox for each in here]
        assert list(part.metas) == [each.meta for each in here]
        assert list(part.channels) == [each.channel for each in here]
        assert list(part.fences) == [KEYS.fence(APP, each.user, GROUP_ID) for each in here]
    assert sum(len(part.members) for part in audience) == len(MANY)


def test_the_history_of_two_is_written_where_it_lies() -> None:
    """Section 13: with one of the two inboxes, and not twice."""
    talk = direct_conversation("ann", "bob")
    log = KEYS.log(APP, talk)
    parts = audience_of(KEYS, APP, ("ann", "bob"), talk, history=True)
    assert [log.log in part.names for part in parts].count(True) == 1
    assert all(log.log in part.names for part in parts if part.bucket == log.bucket)
    assert not any(log.log in part.names for part in audience_of(KEYS, APP, ("ann", "bob"), talk))


async def test_the_earliest_time_counts_once_all_have_answered() -> None:
    """G1: no `ok` before the last call; a repeated send was stored when it was first."""
    lost: list[tuple[int, int]] = []
    stored = AllStored(3, lambda *counts: lost.append(counts))
    stored(b"1702")
    stored([b"1700", 4, 1])
    assert not stored.future.done()
    stored(b"1701")
    assert await stored.future == 1700
    assert lost == [(4, 1)]


async def test_the_first_error_is_the_answer() -> None:
    """G1: nothing is accepted that one inbox has not got; later answers change nothing."""
    stored = AllStored(3, lambda *_: None)
    stored(b"1700")
    stored(Unavailable("timeout"))
    stored(b"1701")
    with pytest.raises(Unavailable, match="timeout"):
        await stored.future


async def test_a_call_with_a_future_of_its_own_counts_too() -> None:
    """Whether it was answered or has failed."""
    loop = asyncio.get_running_loop()
    fine, failed = loop.create_future(), loop.create_future()
    fine.set_result(b"1700")
    failed.set_exception(Unavailable("busy"))
    one, other = AllStored(1, lambda *_: None), AllStored(1, lambda *_: None)
    one.also(fine)
    other.also(failed)
    assert await one.future == 1700
    with pytest.raises(Unavailable, match="busy"):
        await other.future
