"""Mirrors gateway/apps/settings.py: the table, and what comes of it for an app.

Nothing here names a setting to test what holds for all of them: a new one is tested as it is added.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apps.app import App, change, create_app, from_bytes, settings_of, to_bytes
from gateway.apps.errors import (
    AppError,
    FixedField,
    InvalidSetting,
    NoDefault,
    TierTooLow,
    UnknownSetting,
)
from gateway.apps.settings import FIXED, SETTINGS, AppSettings, Setting, Value, Whole, setting
from gateway.apps.tiers import TIERS
from tests.gateway.apps.setting_values import another, bad_texts, good

NOW_MS = 1_764_000_000_000
each_setting = pytest.mark.parametrize("name", SETTINGS)


def make(tier: str = "enterprise") -> App:
    return create_app("chat", "eu", tier, "global", NOW_MS)


@st.composite
def changes(draw: st.DrawFn) -> tuple[Setting, Value]:
    """A setting, and a value for it."""
    one = draw(st.sampled_from(list(SETTINGS.values())))
    return one, draw(good(one))


@given(st.lists(changes(), max_size=8))
def test_what_is_set_comes_back_typed(made: list[tuple[Setting, Value]]) -> None:
    """Whatever an operator types is the same value, of the same type, once the app is read again;
    what was not set is as it was."""
    app, expected = make(), settings_of(make())
    for one, value in made:
        try:
            app = change(app, one.name, one.parse(str(value)))
        except TierTooLow:
            continue  # a lower tier was drawn, or is: its own test
        expected[one.name] = value
    read = settings_of(from_bytes(to_bytes(app)))
    assert read == expected
    assert [type(value) for value in read.values()] == [type(value) for value in expected.values()]


@each_setting
@given(data=st.data())
def test_what_is_no_value_is_refused(name: str, data: st.DataObject) -> None:
    """A wrong value is refused with the rule, and is not shown: it may be somebody's secret."""
    text = data.draw(bad_texts(SETTINGS[name]))
    with pytest.raises(InvalidSetting) as caught:
        SETTINGS[name].parse(text)
    assert (caught.value.name, caught.value.rule) == (name, SETTINGS[name].kind.rule)
    assert str(caught.value) == f"{name} must be {SETTINGS[name].kind.rule}"


@each_setting
@pytest.mark.parametrize("value", [None, 1.5, b"x", {}])
def test_no_app_has_a_value_that_its_setting_refuses(name: str, value: Any) -> None:
    """Neither by a change nor in a record: whatever reads a setting need not look at it again."""
    with pytest.raises(InvalidSetting) as caught:
        change(make(), name, value)
    assert caught.value.name == name
    record = msgspec.msgpack.decode(to_bytes(make()), type=dict[str, Any])
    with pytest.raises(AppError):
        from_bytes(msgspec.msgpack.encode(record | {name: value}))


@pytest.mark.parametrize("value", [True, -1, 604_801, 10**30])
def test_a_number_is_a_whole_one_in_its_bounds(value: Any) -> None:
    """Python's True is an int, and no number of seconds."""
    with pytest.raises(InvalidSetting, match="a whole number of seconds from 0 to 604800"):
        change(make(), "recall_s", value)


@each_setting
def test_a_default_is_a_value_in_every_tier(name: str) -> None:
    """A new app can have any tier, and any setting can be given its default back."""
    one = SETTINGS[name]
    if not one.has_default:
        with pytest.raises(NoDefault, match=re.escape(one.kind.rule)):
            _ = one.default
        return
    for tier in TIERS:
        app = make(tier)
        assert settings_of(app)[name] == one.default
        assert change(app, name, one.default) == app


@each_setting
def test_a_default_is_not_stored(name: str) -> None:
    """A gateway of the version before refuses a field that it does not know. So an app for which a
    new setting is not used, or is no longer used, has a record that it can read."""
    one, app = SETTINGS[name], make()
    if not one.has_default:
        assert name in msgspec.msgpack.decode(to_bytes(app))
        return
    assert name not in msgspec.msgpack.decode(to_bytes(app))
    changed = change(app, name, another(one, one.default))
    assert name in msgspec.msgpack.decode(to_bytes(changed))
    assert to_bytes(change(changed, name, one.default)) == to_bytes(app)


@each_setting
def test_a_row_says_what_people_need(name: str) -> None:
    """A name that can be typed, its unit in the name and in the rule, and what it means."""
    one = SETTINGS[name]
    assert re.fullmatch("[a-z][a-z_]*", name)
    assert one.name == name
    assert one.means.endswith(".")
    if isinstance(one.kind, Whole):
        assert name.endswith(f"_{one.kind.unit[0]}")
        assert one.kind.unit in one.kind.rule


def test_what_is_no_setting_says_so() -> None:
    """The nearest name comes first, after which all others are listed."""
    for typed, nearest in (("recall", "recall_s"), ("device-policy", "device_policy")):
        with pytest.raises(UnknownSetting, match=f"no setting '{typed}'; there are") as caught:
            setting(typed)
        assert caught.value.known[0] == nearest
        assert sorted(caught.value.known) == sorted(SETTINGS)


def test_what_is_fixed_says_why() -> None:
    """G6: an app can't be moved to another region, nor to another kind of account; the text says
    so, where "unknown" would send people to look for the right spelling."""
    assert not FIXED.keys() & SETTINGS.keys()
    assert {"id", "region", "account"} <= FIXED.keys()
    for name, why in FIXED.items():
        with pytest.raises(FixedField, match=f"^{name} can't be set: {re.escape(why)}$"):
            change(make(), name, "eu")


def test_a_tier_allows_less_than_a_setting() -> None:
    """G4: in tier free messages are kept for three days, so none can be recalled after five. The
    setting is refused there; and with the setting, the lower tier is, and changes nothing."""
    free = make("free")
    with pytest.raises(TierTooLow, match="259200 at most in tier free, which keeps") as caught:
        change(free, "recall_s", 259_201)
    assert (caught.value.name, caught.value.tier, caught.value.most) == ("recall_s", "free", 259200)
    assert change(free, "recall_s", 259_200).recall_s == 259_200
    high = change(make("basic"), "recall_s", 604_800)
    with pytest.raises(TierTooLow, match="choose a lower recall_s, or a higher tier"):
        change(high, "tier", "free")
    assert change(high, "tier", "pro").recall_s == 604_800


def test_an_app_above_its_tier_can_be_read_and_changed() -> None:
    """A release that gives a tier less must not make apps unreadable that have more, nor keep an
    operator from changing their other settings."""
    app = msgspec.structs.replace(make("free"), recall_s=604_800)
    assert from_bytes(to_bytes(app)) == app
    assert change(app, "device_policy", "refuse").recall_s == 604_800


def test_the_defaults_are_what_spec_says() -> None:
    """HP-6.2-5, HP-13.4-6, HP-19.1-2: 24 hours, two minutes, and an old device makes room."""
    app = make()
    assert (app.max_token_s, app.recall_s, app.device_policy) == (86_400, 120, "replace")


def test_every_field_is_a_row() -> None:
    """A setting is added by one field; nothing that can be set is left out of the table."""
    assert [each.field for each in SETTINGS.values()] == list(AppSettings.__struct_fields__)
