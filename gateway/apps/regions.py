"""The data-center regions, and the pin that ties an app to one of them for life."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from homeport.ids import is_app_id


@dataclass(frozen=True, slots=True)
class Region:
    """One region. `number` is the first byte of its apps' ids, so it is never reused."""

    code: str
    number: int
    city: str


REGIONS: Final[dict[str, Region]] = {
    region.code: region
    for region in (
        Region("cn", 1, "Beijing"),
        Region("sg", 2, "Singapore"),
        Region("eu", 3, "Frankfurt"),
        Region("na", 4, "Virginia"),
    )
}

_BY_NUMBER: Final = {region.number: region for region in REGIONS.values()}


def region_of(app_id: str) -> Region | None:
    """The home of an app, read from its id alone.

    None when `app_id` is not an app id, or its first byte is no region's number.
    """
    return _BY_NUMBER.get(int(app_id[:2], 16)) if is_app_id(app_id) else None
