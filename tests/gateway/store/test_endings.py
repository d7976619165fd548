"""Mirrors gateway/store/endings.py."""

from __future__ import annotations

import pytest

from gateway.store.endings import BROKEN_OFF, Cause, End, Loss, NotedEnd, NotedLoss


@pytest.mark.parametrize("cause", [Cause("gateway", 4003), Cause("client", 1000), BROKEN_OFF])
def test_an_end_is_read_as_it_was_noted(cause: Cause) -> None:
    """An operator sees which side ended the session, by which code, and whose it was."""
    assert NotedEnd.parse(End(1700, cause).pack("s1", "phone")) == NotedEnd(
        1700, cause, "s1", "phone"
    )


def test_a_loss_is_read_as_it_was_noted() -> None:
    """Which numbers a device was told to be gone."""
    assert NotedLoss.parse(Loss(1700, 3, 9).pack("phone")) == NotedLoss(1700, 3, 9, "phone")
