"""Sites: opened by a test, ended with every process in them, however the test went."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.system.site import OpenSite, open_site


@pytest.fixture(name="open_site")
def _open_site(tmp_path: Path) -> Iterator[OpenSite]:
    with contextlib.ExitStack() as stack:
        yield partial(open_site, stack, tmp_path)
