"""Mirrors gateway/apps/tiers.py."""

from __future__ import annotations

import re
from pathlib import Path

from homeport.limits import MAX_FRAME_BYTES

from gateway.apps.tiers import TIERS

DAY_MS = 86_400_000


def test_each_tier_keeps_messages_as_long_as_promised() -> None:
    """G4: free 3 days, basic 7, pro 90, enterprise 180."""
    days = {name: tier.retention_ms / DAY_MS for name, tier in TIERS.items()}
    assert days == {"free": 3, "basic": 7, "pro": 90, "enterprise": 180}


def test_a_higher_tier_never_gives_less() -> None:
    """G4, G5: nobody loses messages by an upgrade."""
    rows = [
        (
            t.retention_ms,
            t.inbox_cap,
            t.max_body,
            t.group_members,
            t.devices,
            t.connections,
            *(n for rate in (t.session, t.user, t.app) for n in (rate.per_s, rate.burst)),
        )
        for t in TIERS.values()
    ]
    assert rows == sorted(rows)
    assert [list(column) for column in zip(*rows, strict=True)] == [
        sorted(column) for column in zip(*rows, strict=True)
    ]


def test_groups_are_as_large_as_promised() -> None:
    """HP-11.1-3: free 100, basic 250, pro 1,000, enterprise 5,000."""
    sizes = {name: tier.group_members for name, tier in TIERS.items()}
    assert sizes == {"free": 100, "basic": 250, "pro": 1_000, "enterprise": 5_000}


def test_the_largest_body_fits_a_frame() -> None:
    """A tier's largest body must be sendable in one frame."""
    assert max(tier.max_body for tier in TIERS.values()) < MAX_FRAME_BYTES


def test_the_spec_tells_the_rates() -> None:
    """HP-17.1-1: the table of SPEC.md section 17.1, rate / burst of session, user and app."""
    spec = (Path(__file__).parents[3] / "protocol" / "SPEC.md").read_text()
    for name, tier in TIERS.items():
        rates = [f"{r.per_s:,} / {r.burst:,}" for r in (tier.session, tier.user, tier.app)]
        assert f"| {name} | {' | '.join(rates)} |" in spec


def test_the_spec_tells_the_devices() -> None:
    """HP-19.1-1: the numbers of SPEC.md section 19.1."""
    spec = (Path(__file__).parents[3] / "protocol" / "SPEC.md").read_text()
    told = ", ".join(f"{name} {tier.devices}" for name, tier in TIERS.items())
    assert re.search(rf"all replicas together: {told}\.", spec)


def test_the_spec_tells_the_connections() -> None:
    """HP-17.3-2: the numbers of SPEC.md sections 17.3 and 9.1; a device is a connection."""
    spec = (Path(__file__).parents[3] / "protocol" / "SPEC.md").read_text()
    told = ", ".join(f"{name} {tier.connections:,}" for name, tier in TIERS.items())
    assert spec.count(told) == 2
    assert all(tier.connections > tier.devices for tier in TIERS.values())


def test_a_bucket_never_holds_less_than_what_it_holds_for() -> None:
    """HP-17.1-1: one session can use its whole burst; a user more than a session, an app more."""
    for tier in TIERS.values():
        assert tier.session.burst < tier.user.burst < tier.app.burst
        assert tier.session.per_s < tier.user.per_s < tier.app.per_s
