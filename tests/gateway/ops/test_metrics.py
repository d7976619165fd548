"""The table of metrics: its names, and the page for operators that is made of it."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.ops.metrics import METRICS, table

PAGE = Path(__file__).parents[3] / "deploy" / "METRICS.md"
SUBSYSTEMS = "net|api|session|chat|store|security|runtime"


def test_names_are_homeport_subsystem_noun_unit() -> None:
    """``homeport_<subsystem>_<noun>_<unit>[_total]``: counters, and they alone, end in _total. That
    of the version is called as everybody's is, ``…_build_info``."""
    for name, metric in METRICS.items():
        if name == "homeport_build_info":
            continue
        assert re.fullmatch(rf"homeport_({SUBSYSTEMS})(_[a-z]+)+", name), name
        assert name.endswith("_total") == (metric.type == "counter"), name
        assert name.endswith("_seconds") == bool(metric.bounds_s) or metric.type == "gauge", name


def test_labels_are_none_of_a_users() -> None:
    """The only labels there are have values of Homeport's own."""
    own = {
        "",
        "reason",
        "tier",
        "type",
        "code",
        "setting",
        "fault",
        "file",
        "clock",
        "version",
        "status",
    }
    assert {metric.label for metric in METRICS.values()} == own


def test_the_operators_page_is_the_table() -> None:
    """``python -m gateway.ops.metrics`` makes its rows."""
    assert PAGE.read_text().endswith(table())
