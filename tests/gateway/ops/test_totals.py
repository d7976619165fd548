"""What workers report, and what is made of it: added up, and kept when a worker has ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from gateway.ops.datagrams import Numbers
from gateway.ops.metrics import FINE_S
from gateway.ops.totals import FILE, Totals
from gateway.tally import Histogram, Tally
from tests.system.ops import samples


def numbers(closes: int = 5, lag_s: float = 5.0) -> Numbers:
    """What a worker reports that has pushed four messages and ended `closes` sessions."""
    tally, loop = Tally(), Histogram(FINE_S)
    for ms in (0, 3, 3, 70_000):
        tally.add(ms)
    loop.observe(0.25)
    return Numbers(
        {
            "homeport_session_closes_total": {"kicked": closes},
            "homeport_chat_messages_accepted_total": 7,
            "homeport_net_connections": 5,
            "homeport_session_sessions": {"pro": 2, "free": 1},
            "homeport_store_sweeper_lag_seconds": lag_s,
            "homeport_net_certificate_expiry_timestamp_seconds": 1000 * lag_s,
        },
        {
            "homeport_chat_send_to_push_seconds": (tally.cells, tally.total_ms / 1000),
            "homeport_runtime_loop_lag_seconds": (loop.cells, loop.total_s),
        },
    )


def text(totals: Totals) -> str:
    """The exposition."""
    registry = CollectorRegistry()
    registry.register(totals)
    return generate_latest(registry).decode()


def test_two_workers_are_one(tmp_path: Path) -> None:
    """Counters and histograms are sums, each label by itself; a gauge is the sum, the largest or
    the smallest, as the table has it."""
    totals = Totals(tmp_path)
    totals.take(1, numbers())
    totals.take(2, numbers(lag_s=2.0))
    told = text(totals)
    assert 'homeport_chat_send_to_push_seconds_bucket{le="0.002"} 2.0' in told
    assert 'homeport_chat_send_to_push_seconds_bucket{le="0.004"} 6.0' in told
    assert 'homeport_chat_send_to_push_seconds_bucket{le="65.536"} 6.0' in told
    assert 'homeport_chat_send_to_push_seconds_bucket{le="+Inf"} 8.0' in told
    assert 'homeport_runtime_loop_lag_seconds_bucket{le="0.0005"} 0.0' in told
    now = samples(told)
    assert now["homeport_chat_send_to_push_seconds_count"] == 8
    assert now["homeport_chat_send_to_push_seconds_sum"] == pytest.approx(140.012)
    assert now["homeport_runtime_loop_lag_seconds_count"] == 2
    assert now["homeport_session_closes_total{kicked}"] == 10
    assert now["homeport_chat_messages_accepted_total"] == 14
    assert now["homeport_net_connections"] == 10
    assert now["homeport_session_sessions{pro}"] == 4
    assert now["homeport_session_sessions{free}"] == 2
    assert now["homeport_store_sweeper_lag_seconds"] == 5
    assert now["homeport_net_certificate_expiry_timestamp_seconds"] == 2000


def test_a_report_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    """It says what the worker has counted since it began: one that was lost is not missed."""
    totals = Totals(tmp_path)
    for closes in (1, 4):
        totals.take(1, numbers(closes))
    assert samples(text(totals))["homeport_session_closes_total{kicked}"] == 4


def test_the_counts_of_those_that_ended_stay(tmp_path: Path) -> None:
    """A counter does not go back because a worker ended, and its successor counts from 0; a gauge
    is no longer the dead one's."""
    totals = Totals(tmp_path)
    totals.take(1, numbers())
    totals.take(2, numbers(lag_s=2.0))
    totals.end(1)
    totals.end(1)
    totals.take(3, numbers(closes=1, lag_s=3.0))
    now = samples(text(totals))
    assert now["homeport_session_closes_total{kicked}"] == 11
    assert now["homeport_chat_messages_accepted_total"] == 21
    assert now["homeport_chat_send_to_push_seconds_count"] == 12
    assert now["homeport_net_connections"] == 10
    assert now["homeport_store_sweeper_lag_seconds"] == 3
    for pid in (2, 3):
        totals.end(pid)
    now = samples(text(totals))
    assert now["homeport_session_closes_total{kicked}"] == 11
    assert now["homeport_chat_send_to_push_seconds_sum"] == pytest.approx(3 * 70.006)
    assert "homeport_net_connections" not in now
    assert totals.pids == set()


def test_before_a_worker_has_reported_nothing_is_told(tmp_path: Path) -> None:
    """Neither 0, which would be a lie, nor a name without a value."""
    assert text(Totals(tmp_path)) == ""


def test_an_ops_process_goes_on_where_one_before_it_was(tmp_path: Path) -> None:
    """It was killed after an answer. What that said of a worker that had ended, and of one that
    ends meanwhile, is in the next answer: else rate() would take the drop for a restart of all and
    count everything again."""
    first = Totals(tmp_path)
    first.take(1, numbers())
    first.end(1)
    first.take(2, numbers())
    first.save()
    shown = text(first)
    second = Totals(tmp_path)
    assert text(second) == shown
    assert second.pids == {2}
    second.end(2)
    second.take(3, numbers(closes=0))
    assert samples(text(second))["homeport_session_closes_total{kicked}"] == 10


def test_a_damaged_file_is_said_and_counters_begin_anew(tmp_path: Path) -> None:
    """A wrong number for a moment is better than an ops process that does not start."""
    (tmp_path / FILE).write_bytes(b"\xc1")
    with capture_logs() as logs:
        totals = Totals(tmp_path)
    assert [line["event"] for line in logs] == ["totals_damaged"]
    totals.take(1, numbers())
    assert samples(text(totals))["homeport_session_closes_total{kicked}"] == 5
