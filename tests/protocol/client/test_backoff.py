"""The wait before a reconnect."""

from __future__ import annotations

from homeport.client.backoff import CAP_S, Backoff
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_jitter_is_a_share_of_a_doubling_ceiling(failures: int, share: float) -> None:
    """HP-8.3-1: even from 0 to the smaller of 20 s and 0.2 s * 2^n, for any number of failures."""
    ceiling = min(20.0, 0.2 * 2.0 ** min(failures, 100))
    delay = Backoff(random=lambda: share).delay(failures)
    assert delay == share * ceiling
    assert 0 <= delay <= CAP_S


def test_ceiling_of_the_first_attempts() -> None:
    """HP-8.3-1: 0.4, 0.8 … 12.8, then 20 seconds."""
    ceilings = [Backoff(random=lambda: 1.0).delay(n) for n in range(1, 9)]
    assert ceilings == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0]
