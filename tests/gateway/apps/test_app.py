"""Mirrors gateway/apps/app.py."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apps.app import (
    App,
    AppError,
    InvalidApp,
    MainlandOnly,
    UnknownAccount,
    UnknownPolicy,
    UnknownRegion,
    UnknownTier,
    create_app,
    from_bytes,
    to_bytes,
    with_device_policy,
    with_new_certificate,
    with_recall,
    with_tier,
)
from gateway.apps.regions import REGIONS, region_of
from gateway.apps.tiers import TIERS

NOW_MS = 1_764_000_000_000


def make(**changes: Any) -> App:
    return create_app(
        **({"name": "chat", "region": "eu", "tier": "pro", "account": "global"} | changes),
        now_ms=NOW_MS,
    )


@pytest.mark.parametrize("region", REGIONS)
def test_a_new_app_is_pinned_by_its_id(region: str) -> None:
    """[HP-3.2-1], G6."""
    app = make(region=region)
    assert region_of(app.id) is REGIONS[region]
    assert (app.region, app.tier, app.created_ms) == (region, TIERS["pro"], NOW_MS)


def test_two_apps_share_no_secret() -> None:
    """G7, G8: ids, salts and certificates are fresh."""
    a, b = make(), make()
    assert a.id != b.id
    assert a.salt != b.salt
    assert a.certificates[0] != b.certificates[0]


def test_a_mainland_account_creates_cn_apps_only() -> None:
    """G6: data of a mainland account stays in Beijing, and the text says what to do."""
    assert make(account="mainland", region="cn").region == "cn"
    for region in sorted(REGIONS.keys() - {"cn"}):
        with pytest.raises(MainlandOnly, match="create the app in cn") as caught:
            make(account="mainland", region=region)
        assert caught.value.region == region


def test_unknown_words_are_refused_with_the_choices() -> None:
    """G6: a typo makes no app; the text names what there is, the error carries what was asked."""
    with pytest.raises(UnknownRegion, match="cn, sg, eu, na") as no_region:
        make(region="us")
    with pytest.raises(UnknownTier, match="free, basic, pro, enterprise") as no_tier:
        make(tier="gold")
    with pytest.raises(UnknownAccount, match="mainland, global") as no_account:
        make(account="martian")
    assert (no_region.value.region, no_tier.value.tier) == ("us", "gold")
    assert no_account.value.account == "martian"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "04" + "ab" * 15),
        ("id", "not an id"),
        ("name", ""),
        ("name", "x" * 65),
        ("name", "two\nlines"),
        ("salt", b""),
        ("certificates", ()),
        ("certificates", ("ab" * 31,)),
        ("certificates", ("AB" * 32,)),
        ("certificates", ("ab" * 32,) * 3),
        ("max_token_s", 0),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not_shown(field: str, value: Any) -> None:
    """G6, G8: an app can't be moved, nor hold a short or a third certificate."""
    with pytest.raises(InvalidApp) as caught:
        replace(make(), **{field: value})
    assert caught.value.field == field
    if value:
        assert str(value) not in str(caught.value)


def test_an_app_cannot_be_edited() -> None:
    """G6: the region is fixed at creation."""
    with pytest.raises(FrozenInstanceError):
        make().region = "cn"  # type: ignore[misc]


def test_repr_shows_no_secret() -> None:
    """G8: an app may be logged by accident."""
    app = with_new_certificate(make())
    for secret in (*app.certificates, repr(app.salt), app.salt.hex()):
        assert secret not in repr(app)


def test_rotation_keeps_one_old_certificate() -> None:
    """[HP-6.1-2]: the old primary becomes the secondary, the old secondary goes."""
    first = make()
    second = with_new_certificate(first)
    third = with_new_certificate(second)
    assert second.certificates[1:] == first.certificates
    assert third.certificates[1] == second.certificates[0]
    assert len(third.certificates) == 2
    assert replace(third, certificates=first.certificates) == first


def test_a_tier_change_changes_nothing_else() -> None:
    """G4: the salt stays, so all that was sealed still opens."""
    app = make()
    assert with_tier(app, "free") == replace(app, tier=TIERS["free"])
    with pytest.raises(UnknownTier):
        with_tier(app, "gold")


@given(
    region=st.sampled_from(sorted(REGIONS)),
    tier=st.sampled_from(sorted(TIERS)),
    rotated=st.booleans(),
    max_token_s=st.integers(1, 10**9),
)
def test_what_is_stored_comes_back(region: str, tier: str, rotated: bool, max_token_s: int) -> None:
    """G6: the registry gives back the app that was created, all of it."""
    app = make(region=region, tier=tier, max_token_s=max_token_s)
    if rotated:
        app = with_new_certificate(app)
    assert from_bytes(to_bytes(app)) == app


@pytest.mark.parametrize(
    "changes",
    [
        {"region": "cn"},
        {"tier": "gold"},
        {"certificates": ["short"]},
        {"max_token_s": "86400"},
        {"extra": 1},
    ],
)
def test_a_changed_record_is_refused(changes: dict[str, object]) -> None:
    """G6: a record that names another region than its id is no app; nor is any other damage."""
    record = msgspec.msgpack.decode(to_bytes(make()), type=dict[str, Any])
    with pytest.raises(AppError):
        from_bytes(msgspec.msgpack.encode(record | changes))


def test_bytes_that_are_no_record_are_refused() -> None:
    """G6: cut short, too long, or something else."""
    whole = to_bytes(make())
    for data in (b"", b"\xc1", b"\x91\x01", whole[:-1], whole + b"\0"):
        with pytest.raises(InvalidApp, match="record"):
            from_bytes(data)


def test_a_device_policy_is_one_of_two() -> None:
    """HP-19.1-2, HP-19.1-3: replace by default; a typo makes no app."""
    app = make()
    assert app.device_policy == "replace"
    refusing = with_device_policy(app, "refuse")
    assert from_bytes(to_bytes(refusing)) == refusing
    with pytest.raises(UnknownPolicy, match="replace, refuse") as caught:
        with_device_policy(app, "fight")
    assert caught.value.policy == "fight"


def test_a_record_from_before_there_was_a_policy_means_replace() -> None:
    """HP-19.1-2: an older gateway's apps can be read."""
    record = msgspec.msgpack.decode(to_bytes(make()))
    del record["device_policy"]
    assert from_bytes(msgspec.msgpack.encode(record)).device_policy == "replace"


def test_the_time_to_recall_is_a_week_at_most() -> None:
    """HP-13.4-6: two minutes by default, for a record from before there was a choice too."""
    app = make()
    assert app.recall_s == 120
    assert from_bytes(to_bytes(with_recall(app, 0))).recall_s == 0
    assert with_recall(app, 7 * 24 * 3600).recall_s == 604_800
    for wrong in (-1, 604_801):
        with pytest.raises(InvalidApp, match="recall_s"):
            with_recall(app, wrong)
    record = msgspec.msgpack.decode(to_bytes(app))
    del record["recall_s"]
    assert from_bytes(msgspec.msgpack.encode(record)).recall_s == 120
