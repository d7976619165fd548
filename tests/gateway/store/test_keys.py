"""Names of keys: stable, one slot for what one script touches, and never the same for two users."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from gateway.redis.slots import BUCKETS
from gateway.store.keys import STAMP, Keys, bucket_of
from tests.gateway.store.conftest import APP_ID

users = st.from_regex(r"[A-Za-z0-9._@+\-]{1,64}", fullmatch=True)


@pytest.mark.parametrize(
    ("user", "bucket"), [("ann", 108), ("bob", 95), ("a.b_c@d+e-f", 133), ("A" * 64, 96)]
)
def test_a_users_bucket_never_changes(user: str, bucket: int) -> None:
    """G4: what an older gateway stored is looked for in the same place by a newer one."""
    assert bucket_of("02" + "ab" * 15, user) == bucket


@given(users)
def test_what_one_script_touches_is_in_one_slot(user: str) -> None:
    """Redis Cluster refuses a script whose keys lie in two slots."""
    names, inbox = Keys("sg").user(APP_ID, user), Keys("sg").inbox(APP_ID, user)
    slots = {
        key_slot(name.encode())
        for name in (
            inbox.refs,
            inbox.rows,
            names.meta,
            names.revoked,
            names.due,
            names.channel,
            Keys("sg").due(names.bucket),
            Keys("sg").dedupe(names.bucket, APP_ID, bytes(16)),
        )
    }
    assert len(slots) == 1
    assert names.due == Keys("sg").due(names.bucket)
    assert 0 <= names.bucket < BUCKETS


@given(users, users)
def test_two_users_share_nothing_but_the_due_list(one: str, other: str) -> None:
    """A message for one user is never found in the inbox of another, nor of another app's user."""
    keys = Keys("sg")

    def names(app_id: str, user: str) -> set[str]:
        its, inbox = keys.user(app_id, user), keys.inbox(app_id, user)
        return {inbox.refs, inbox.rows, its.meta, its.revoked, its.channel, its.member}

    mine = names(APP_ID, one)
    assert not mine & names("02" + "f" * 30, one)
    assert one == other or not mine & names(APP_ID, other)


def test_regions_share_nothing_but_the_stamp() -> None:
    """G6: a name says whose it is; only the stamp, which keeps regions apart, is the same."""
    sg, eu = Keys("sg"), Keys("eu")
    names = {
        sg.apps,
        sg.sweeper,
        sg.apps_channel,
        sg.app(APP_ID),
        sg.due(1),
        sg.dedupe(1, APP_ID, bytes(16)),
        sg.inbox(APP_ID, "ann").refs,
    }
    assert all(name.startswith("hp:sg:") for name in names)
    assert all(name.replace("hp:sg:", "hp:eu:") not in names for name in names)
    assert eu.inbox(APP_ID, "ann").refs == sg.inbox(APP_ID, "ann").refs.replace("hp:sg:", "hp:eu:")
    assert STAMP not in names


def test_users_spread_over_the_buckets() -> None:
    """No bucket's due list gets more than its share."""
    counts = Counter(bucket_of(APP_ID, f"user{n}") for n in range(25_600))
    assert len(counts) == BUCKETS
    assert max(counts.values()) < 150
