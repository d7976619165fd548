"""A gateway with its supervisor, as processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import Settings
from tests.gateway.runtime.replica import Replica


@pytest.fixture
def replica(settings: Settings, tmp_path: Path) -> Iterator[Replica]:
    """One that is not started yet; killed in the end."""
    made = Replica(tmp_path, settings)
    try:
        yield made
    finally:
        if hasattr(made, "process"):
            made.process.kill()
