"""The chart, rendered by Helm's own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import helm
from tests.deploy.charting import NEEDED, Render
from tests.deploy.tools import ROOT


@pytest.fixture(scope="session")
def python() -> Path:
    """A Python that has Helm's own code."""
    try:
        return helm.python(ROOT / ".cache")
    except RuntimeError as error:
        pytest.skip(f"helm-python-sdk {helm.VERSION} can't be installed: {error}")


@pytest.fixture
def render(python: Path) -> Render:
    """Renders the chart for sg with some values: objects by (kind, name)."""

    def rendered(name: str = "homeport-sg", **values: Any) -> dict[tuple[str, str], Any]:
        asked = {"do": "render", "name": name, "values": NEEDED | values}
        [answer] = helm.call(python, [asked])
        assert "refused" not in answer, answer
        objects = [
            found
            for template, text in answer.items()
            if template.endswith(".yaml")
            for found in yaml.safe_load_all(text)
            if found
        ]
        return {(found["kind"], found["metadata"]["name"]): found for found in objects}

    return rendered
