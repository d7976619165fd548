"""Mirrors gateway/chat/shares.py: while Redis is busy, an app that floods waits for itself (G9)."""

from __future__ import annotations

import asyncio
from functools import partial

from gateway.chat.shares import BUSY, LIMIT, Shares
from tests.harness import until


async def test_an_app_alone_is_never_held_up() -> None:
    """G9: as long as the line to Redis is short, nobody waits, whatever an app has under way."""
    share = Shares(lambda: BUSY - 1).of("app")
    share.begin(LIMIT * 10)
    assert not share.used_up


async def test_while_redis_is_busy_an_app_has_its_share_and_the_others_have_theirs() -> None:
    """G9: the app that has more under way than its share waits; another one goes on."""
    shares = Shares(lambda: BUSY)
    flooding, other = shares.of("flooding"), shares.of("other")
    used_up = []
    for tokens in (LIMIT - 1, 1, -1):
        flooding.begin(tokens)
        used_up.append(flooding.used_up)
        assert not other.used_up
    assert used_up == [False, True, False]


async def test_who_waits_goes_on_in_the_order_of_coming_once_the_line_is_short() -> None:
    """G9: and only as many as the share has room for."""
    queued = BUSY
    share, gone = Shares(lambda: queued).of("app"), list[int]()
    share.begin(LIMIT)

    def go_on(number: int) -> None:
        gone.append(number)
        share.begin(LIMIT // 2)

    for number in range(3):
        share.wait(partial(go_on, number))
    await asyncio.sleep(0.02)
    assert gone == []
    share.end(1)
    await until(lambda: gone == [0])
    await asyncio.sleep(0.02)
    assert gone == [0]
    queued = 0
    await until(lambda: gone == [0, 1, 2])


async def test_who_waits_twice_goes_on_once() -> None:
    """G9: a session asks again with each answer, and has one place among those who wait."""
    share, gone = Shares(lambda: BUSY).of("app"), list[None]()
    share.begin(LIMIT)
    go_on = partial(gone.append, None)
    for _ in range(1_000):
        share.wait(go_on)
    share.end(LIMIT)
    await until(lambda: gone)
    await asyncio.sleep(0.02)
    assert gone == [None]


async def test_a_share_is_the_same_for_all_sessions_of_an_app() -> None:
    """G9: many sessions have no more together than one."""
    shares = Shares(lambda: BUSY)
    one = shares.of("app")
    one.begin(LIMIT)
    assert shares.of("app") is one
