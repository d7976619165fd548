"""Mirrors gateway/apps/app.py."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.apps.app import App, change, create_app, from_bytes, to_bytes, with_new_certificate
from gateway.apps.errors import (
    AppError,
    InvalidApp,
    InvalidSetting,
    MainlandOnly,
    UnknownAccount,
    UnknownRegion,
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
    with pytest.raises(InvalidSetting, match="tier must be one of free, basic, pro, enterprise"):
        make(tier="gold")
    with pytest.raises(UnknownAccount, match="mainland, global") as no_account:
        make(account="martian")
    assert no_region.value.region == "us"
    assert no_account.value.account == "martian"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "04" + "ab" * 15),
        ("id", "not an id"),
        ("salt", b""),
        ("certificates", ()),
        ("certificates", ("ab" * 31,)),
        ("certificates", ("AB" * 32,)),
        ("certificates", ("ab" * 32,) * 3),
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
    with pytest.raises(AttributeError, match="immutable"):
        make().region = "cn"  # type: ignore[misc]


def test_repr_shows_no_secret() -> None:
    """G8: an app may be logged by accident, or be in a traceback that rich has printed."""
    app = with_new_certificate(make())
    assert f"id='{app.id}'" in repr(app)
    for secret in (*app.certificates, repr(app.salt), app.salt.hex()):
        assert secret not in repr(app) + str(app.__rich_repr__())


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
    changed = change(app, "tier", "free")
    assert changed.tier is TIERS["free"]
    assert replace(changed, tier_name=app.tier_name) == app


@given(
    region=st.sampled_from(sorted(REGIONS)),
    tier=st.sampled_from(sorted(TIERS)),
    rotated=st.booleans(),
)
def test_what_is_stored_comes_back(region: str, tier: str, rotated: bool) -> None:
    """G6: the registry gives back the app that was created, all of it."""
    app = make(region=region, tier=tier)
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
