"""What processes write, and what is made of it: added up, and kept when a process has ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.tally import BOUNDS_S, CELLS, Tally
from tests.system.ops import samples

WORK = """
import os, sys
from pathlib import Path
from gateway.ops.exporter import Exporter
from gateway.tally import Tally

exporter = Exporter(Path(sys.argv[1]))
tally = Tally()
for ms in (0, 3, 3, 70_000):
    tally.add(ms)
    exporter.tally("homeport_chat_send_to_push_seconds", tally)
exporter.tally("homeport_chat_send_to_push_seconds", tally)
for value in (2, 5, 5):
    exporter.tell("homeport_session_closes_total", value, "kicked")
    exporter.tell("homeport_net_connections", value)
    exporter.tell("homeport_store_sweeper_lag_seconds", value)
exporter.observe("homeport_runtime_loop_lag_seconds", 0.25)
exporter.close()
print(os.getpid())
"""


def work(folder: Path) -> int:
    """Let a process count; returns its id. It has ended."""
    ran = subprocess.run(
        [sys.executable, "-c", WORK, folder], capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


def read(folder: Path) -> str:
    """The exposition."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder / "metrics"))  # type: ignore[no-untyped-call]
    return generate_latest(registry).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder."""
    (tmp_path / "metrics").mkdir()
    return tmp_path


def test_two_processes_are_one_and_the_dead_ones_counts_stay(folder: Path) -> None:
    """A counter does not go back because a worker ended; a gauge is no longer its."""
    first, _ = work(folder), work(folder)
    text = read(folder)
    assert 'homeport_chat_send_to_push_seconds_bucket{le="0.002"} 2.0' in text
    assert 'homeport_chat_send_to_push_seconds_bucket{le="0.004"} 6.0' in text
    assert 'homeport_chat_send_to_push_seconds_bucket{le="65.536"} 6.0' in text
    assert 'homeport_chat_send_to_push_seconds_bucket{le="+Inf"} 8.0' in text
    now = samples(text)
    assert now["homeport_chat_send_to_push_seconds_count"] == 8
    assert now["homeport_chat_send_to_push_seconds_sum"] == pytest.approx(140.012)
    assert now["homeport_session_closes_total{kicked}"] == 10
    assert now["homeport_net_connections"] == 10
    assert now["homeport_store_sweeper_lag_seconds"] == 5
    assert now["homeport_runtime_loop_lag_seconds_count"] == 2
    mark_process_dead(first, str(folder / "metrics"))  # type: ignore[no-untyped-call]
    later = samples(read(folder))
    assert later["homeport_net_connections"] == 5
    assert later["homeport_session_closes_total{kicked}"] == 10
    assert later["homeport_chat_send_to_push_seconds_count"] == 8


def test_a_tally_counts_into_the_buckets_that_it_names() -> None:
    """Every duration lies in the first bucket whose bound is above it."""
    for ms in (-5, 0, 1, 2, 3, 4, 1000, 65_535, 65_536, 10**9):
        tally = Tally()
        tally.add(ms)
        cell = tally.cells.index(1)
        assert cell == CELLS - 1 or ms / 1000 < BOUNDS_S[cell]
        assert cell == 0 or ms / 1000 >= BOUNDS_S[cell - 1]
        assert tally.total_ms == max(ms, 0)
