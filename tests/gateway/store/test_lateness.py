"""Mirrors gateway/store/lateness.py: what is pushed late, and what a recall waits for."""

from __future__ import annotations

from gateway.redis.errors import Unavailable
from gateway.store.lateness import (
    AGAIN_MS,
    CLOCKS_MS,
    FRESH_MS,
    LATE_MS,
    NOTE_MS,
    UNSEEN_S,
    Lateness,
)
from tests.gateway.store.conftest import Store
from tests.harness import until


def lateness(store: Store, gateway: str = "one") -> Lateness:
    """That of a gateway."""
    return Lateness(store.link, store.keys, gateway, lambda: store.clock.ms)


async def noted(store: Store, late: Lateness) -> int:
    """Have a gateway find out that it is late; returns when its note was there, in ms."""
    now_ms = store.clock.ms
    assert not late.fresh(now_ms - FRESH_MS - 1)
    await until(lambda: late.fresh(now_ms - FRESH_MS) and store.raw.zcard(store.keys.late) == 1)
    await store.link.call("PING")  # the answer has come, too
    return now_ms


async def renewed(store: Store, gateway: str) -> None:
    """Wait until a gateway's note is from now."""
    ends_ms = store.clock.ms + NOTE_MS
    await until(lambda: store.raw.zscore(store.keys.late, gateway) == ends_ms)


async def test_what_is_old_is_not_pushed_before_the_note_is_there(store: Store) -> None:
    """HP-13.4-1: to the millisecond; and what was old when the note came stays so."""
    late = lateness(store)
    now_ms = await noted(store, late)
    assert not late.fresh(now_ms - FRESH_MS - 1)
    store.clock.advance(2)
    assert late.fresh(now_ms - FRESH_MS)
    assert not late.fresh(now_ms - FRESH_MS - 1)


async def test_a_gateway_that_stays_late_renews_its_note(store: Store) -> None:
    """G9: it goes on pushing what it gets late instead of reading it all again; but nothing that is
    ten seconds old."""
    late = lateness(store)
    since_ms = await noted(store, late)
    for _ in range(5):
        store.clock.advance(AGAIN_MS / 1000)
        assert late.fresh(store.clock.ms - AGAIN_MS)
        await renewed(store, "one")
        await store.link.call("PING")
    assert late.fresh(store.clock.ms - LATE_MS)
    assert store.clock.ms - LATE_MS >= since_ms - FRESH_MS
    assert not late.fresh(store.clock.ms - LATE_MS - 1)


async def test_a_note_that_is_over_counts_no_more(store: Store) -> None:
    """HP-13.4-1: a gateway that was stopped meanwhile reads again what it got before."""
    late = lateness(store)
    now_ms = await noted(store, late)
    store.clock.advance((NOTE_MS - 2 * CLOCKS_MS) / 1000)
    assert not late.fresh(now_ms)


async def test_without_redis_what_is_old_is_read_again(store: Store) -> None:
    """HP-13.4-1: a note that is not there allows nothing."""

    class Away:
        def run_then(self, then: object, *_: object) -> None:
            then(Unavailable("away"))  # type: ignore[operator]

    late = Lateness(Away(), store.keys, "one", lambda: store.clock.ms)  # type: ignore[arg-type]
    for _ in range(2):
        assert not late.fresh(store.clock.ms - FRESH_MS - 1)
        assert late.fresh(store.clock.ms - FRESH_MS)


async def test_a_recall_waits_a_second_or_as_long_as_somebody_is_late(store: Store) -> None:
    """HP-13.4-1: or until what was recalled is older than anybody pushes."""
    slept = list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        store.clock.advance(seconds)

    mine, other = lateness(store), lateness(store, "two")
    await mine.unseen(sleep)
    assert slept == [UNSEEN_S]
    await noted(store, other)
    slept.clear()
    await mine.unseen(sleep)
    assert sum(slept) * 1000 == NOTE_MS

    async def renewing(seconds: float) -> None:
        await sleep(seconds)
        other.fresh(store.clock.ms - LATE_MS)
        if round(sum(slept)) * 1000 % AGAIN_MS == 0:
            await renewed(store, "two")

    slept.clear()
    await noted(store, other)
    await mine.unseen(renewing)
    assert LATE_MS < sum(slept) * 1000 <= LATE_MS + CLOCKS_MS + UNSEEN_S * 1000
