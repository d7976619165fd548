"""The token bucket."""

from __future__ import annotations

import pytest

from gateway.session.bucket import TokenBucket


def test_a_burst_and_then_a_rate() -> None:
    """HP-16.1-4: as many as it holds at once, then one for each that came back."""
    bucket = TokenBucket(10, 20, 100.0)
    assert [bucket.take(100.0) for _ in range(20)] == [0.0] * 20
    assert bucket.take(100.0) == pytest.approx(0.1)
    assert bucket.take(100.05) == pytest.approx(0.05)
    assert bucket.take(100.11) == 0.0
    assert bucket.take(100.11) > 0


def test_it_never_holds_more_than_its_burst() -> None:
    """HP-16.1-4: a long silence saves nothing up."""
    bucket = TokenBucket(10, 20, 0.0)
    assert [bucket.take(1e6) for _ in range(20)] == [0.0] * 20
    assert bucket.take(1e6) > 0


def test_what_it_says_to_wait_is_enough() -> None:
    """HP-16.1-4: whoever waits as long is let through."""
    bucket = TokenBucket(3, 1, 0.0)
    now = 0.0
    bucket.take(now)
    for _ in range(1000):
        now += bucket.take(now) + 1e-9
        assert bucket.take(now) == 0.0
