"""Mirrors gateway/chat/shares.py: an app that floods waits for itself (G9)."""

from __future__ import annotations

import asyncio
from functools import partial

from gateway.chat.shares import LIMIT, Shares
from tests.harness import until


async def test_an_app_has_its_share_and_the_others_have_theirs() -> None:
    """G9: the app that has its share under way waits; another one goes on."""
    shares = Shares()
    flooding, other = shares.of("flooding"), shares.of("other")
    used_up = []
    for tokens in (LIMIT - 1, 1, -1):
        flooding.begin(tokens)
        used_up.append(flooding.used_up)
        assert not other.used_up
    assert used_up == [False, True, False]


async def test_who_waits_goes_on_in_the_order_of_coming_as_soon_as_there_is_room() -> None:
    """G9: and only as many as the share has room for. An answer makes room; nobody looks again
    later, so the app's requests do not wait while Redis has nothing to do."""
    share, gone = Shares().of("app"), list[int]()
    share.begin(LIMIT)

    def go_on(number: int) -> None:
        gone.append(number)
        share.begin(LIMIT // 2)

    for number in range(3):
        share.wait(partial(go_on, number))
    await asyncio.sleep(0)
    assert gone == []
    share.end(1)
    await until(lambda: gone == [0])
    share.end(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert gone == [0]
    share.end(LIMIT)
    await until(lambda: gone == [0, 1, 2])


async def test_who_waits_twice_goes_on_once() -> None:
    """G9: a session asks again with each answer, and has one place among those who wait."""
    share, gone = Shares().of("app"), list[None]()
    share.begin(LIMIT)
    go_on = partial(gone.append, None)
    for _ in range(1_000):
        share.wait(go_on)
    share.end(LIMIT)
    await until(lambda: gone)
    await asyncio.sleep(0.02)
    assert gone == [None]


async def test_one_request_may_cost_more_than_the_share() -> None:
    """G9: it goes alone, and what comes behind it waits for its end."""
    share, gone = Shares().of("app"), list[str]()
    assert not share.used_up
    share.begin(LIMIT * 5)
    share.wait(lambda: gone.append("next"))
    share.end(LIMIT * 5)
    await until(lambda: gone == ["next"])


async def test_a_share_is_the_same_for_all_sessions_of_an_app() -> None:
    """G9: many sessions have no more together than one."""
    shares = Shares()
    one = shares.of("app")
    one.begin(LIMIT)
    assert shares.of("app") is one
