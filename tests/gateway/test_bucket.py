"""Mirrors gateway/bucket.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bucket import TokenBucket


def spend(bucket: TokenBucket, now: float, most: int = 100_000) -> int:
    """Take what there is, at most `most`; returns how many."""
    taken = 0
    while taken < most and bucket.wait(now) == 0.0:
        bucket.take(now)
        taken += 1
    return taken


@pytest.mark.parametrize(("rate", "burst"), [(50, 500), (1, 1), (3, 7), (10_000, 5_000)])
def test_a_full_bucket_gives_exactly_its_burst(rate: int, burst: int) -> None:
    """HP-17.1-1: no token is lost or won by rounding, also late in a machine's life."""
    for now in (0.0, 1000.0, 4e6 + 0.123):
        assert spend(TokenBucket(rate, burst, now), now) == burst


def test_tokens_come_back_at_the_rate_and_no_more_than_the_burst() -> None:
    """HP-17.1-1."""
    bucket = TokenBucket(10, 5, 100.0)
    assert spend(bucket, 100.0) == 5
    assert spend(bucket, 100.35) == 3
    assert spend(bucket, 1e6) == 5


def test_waiting_as_long_as_told_gives_a_token() -> None:
    """HP-17.1-3: and a little less does not."""
    bucket = TokenBucket(10, 5, 100.0)
    spend(bucket, 100.0)
    wait = bucket.wait(100.0)
    assert wait == pytest.approx(0.1, rel=0.02)
    assert bucket.wait(100.0 + wait * 0.9) > 0.0
    assert bucket.wait(100.0 + wait + 1e-6) == 0.0


def test_other_numbers_hold_at_once() -> None:
    """HP-17.1-4: more or less, from the next token on."""
    bucket = TokenBucket(10, 5, 0.0)
    spend(bucket, 0.0)
    bucket.change(100, 1000)
    assert spend(bucket, 0.0) == 950  # half a second of ten is spent
    bucket.change(10, 5)
    assert spend(bucket, 0.0) == 0


@given(
    st.integers(1, 1000),
    st.integers(1, 200),
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 50)), max_size=30),
)
def test_in_no_time_more_is_given_than_burst_and_rate(
    rate: int, burst: int, steps: list[tuple[float, int]]
) -> None:
    """HP-17.2-1: from any moment to any later one."""
    bucket, now = TokenBucket(rate, burst, 0.0), 0.0
    given_at: list[tuple[float, int]] = []
    for passed, wanted in steps:
        now += passed
        given_at.append((now, spend(bucket, now, wanted)))
        total = 0
        for when, count in reversed(given_at):
            total += count
            assert total <= burst + rate * (now - when) + 0.02
