"""`make soak`: every form of `tests.system.costly`, by each door, from one session and three.

pytest does not collect this by itself: it takes more than an hour. On a machine that does anything
else, run it as root with real-time priority (``chrt -r 1 make soak``): the flood alone has none.
"""

from __future__ import annotations

import pytest

from tests.system.costly import forms
from tests.system.flood import CONNECTS
from tests.system.neighbours import Neighbours, judge
from tests.system.site import OpenSite


@pytest.mark.timeout(0)
@pytest.mark.parametrize("workers", [1, 2])
async def test_no_flood_makes_another_app_wait(open_site: OpenSite, workers: int) -> None:
    """G9, as the test of the worst forms."""
    site = await open_site(store_options=("--appendfsync", "everysec"))
    broken = {}
    async with Neighbours.open(site, workers) as neighbours:
        for form in [*forms(), CONNECTS]:
            for door in ("plain", "wss"):
                for sessions in (1, 3):
                    found = await judge(
                        neighbours,
                        form,
                        sessions=sessions,
                        door=door,
                        seconds=5.0,
                        tries=2,
                        times=1,
                    )
                    if found:
                        broken[f"{form}, {door}, {sessions} sessions"] = found
    assert not broken
