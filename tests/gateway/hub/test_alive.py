"""Mirrors gateway/hub/alive.py."""

from __future__ import annotations

from gateway.hub.alive import GRACE_S, LATE_S, Alive
from gateway.store.presence import RENEW_S


def names(text: str) -> frozenset[str]:
    """A gateway a letter."""
    return frozenset(text)


def test_who_has_no_lease_any_more_has_died() -> None:
    """HP-20.3-1: told once, and whoever is new is no news."""
    alive = Alive()
    assert not alive.learn(names("ab"), 0.0)
    assert not alive.learn(names("abc"), RENEW_S)
    assert alive.learn(names("ac"), 2 * RENEW_S)
    assert alive.gateways == names("ac")
    assert not alive.learn(names("ac"), 3 * RENEW_S)


def test_after_a_pause_the_others_have_their_time() -> None:
    """HP-20.3-2: a store that was away for long makes no one offline; who never returns, is."""
    alive = Alive()
    alive.learn(names("abc"), 0.0)
    back = LATE_S + 1
    assert not alive.learn(names("a"), back)
    assert not alive.learn(names("ab"), back + RENEW_S)
    assert alive.gateways == names("abc")
    now = back + RENEW_S
    while now + RENEW_S < back + GRACE_S:
        now += RENEW_S
        assert not alive.learn(names("ab"), now)
    assert alive.learn(names("ab"), now + RENEW_S)
    assert alive.gateways == names("ab")


def test_a_pause_within_the_time_is_none() -> None:
    """HP-20.3-1: one renewal that failed must not hide a death for as long again."""
    alive = Alive()
    alive.learn(names("ab"), 0.0)
    assert alive.learn(names("a"), LATE_S)
