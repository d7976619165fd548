"""Mirrors gateway/apps/regions.py."""

from __future__ import annotations

from typing import get_args

import pytest

from gateway.apps.regions import REGIONS, region_of
from gateway.config import RegionCode


@pytest.mark.parametrize(
    ("first_byte", "code"), [("01", "cn"), ("02", "sg"), ("03", "eu"), ("04", "na")]
)
def test_home_is_read_from_the_id_alone(first_byte: str, code: str) -> None:
    """[HP-3.2-1], G6: the first two digits of an app id are its region's number."""
    assert region_of(first_byte + "ab" * 15) is REGIONS[code]


@pytest.mark.parametrize(
    "app_id",
    ["", "03", "00" + "ab" * 15, "05" + "ab" * 15, "03" + "AB" * 15, "03" + "ab" * 15 + "\n", "zz"],
)
def test_what_is_no_app_id_has_no_home(app_id: str) -> None:
    """[HP-3.2-1]: an unknown number, upper case or another length names no region."""
    assert region_of(app_id) is None


def test_configuration_knows_the_same_regions() -> None:
    """G6: a region that the table has can be configured, and no other."""
    assert set(get_args(RegionCode)) == set(REGIONS)
