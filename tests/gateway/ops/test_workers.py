"""What is heard of workers, and what becomes of those that end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.ops.datagrams import Mouth, Numbers, Report
from gateway.ops.workers import Workers, is_alive

ACCEPTED = "homeport_chat_messages_accepted_total"


class Gateway:
    """The workers of a run folder, and which of their processes are there."""

    def __init__(self, folder: Path) -> None:
        self.alive = {1, 2}
        self.workers = Workers(2, folder, self.alive.__contains__)
        self._mouth = Mouth(folder)
        self._registry = CollectorRegistry()
        self._registry.register(self.workers.totals)

    def say(self, pid: int, accepted: int | None = None, state: str = "ready") -> None:
        """Worker `pid` reports."""
        numbers = None if accepted is None else Numbers({ACCEPTED: accepted}, {})
        report = Report(f"w{pid}", pid, state, 1, 0, 0.0, "", "", numbers=numbers)
        assert self._mouth.say(report)

    @property
    def accepted(self) -> float | None:
        """What Prometheus is told."""
        return self._registry.get_sample_value(ACCEPTED)

    def close(self) -> None:
        """Give the sockets back."""
        self._mouth.close()
        self.workers.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of two workers."""
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.close()


def test_reports_are_heard_with_and_without_numbers(gateway: Gateway) -> None:
    """Three of four reports have none: what was counted stands."""
    gateway.say(1, 5)
    gateway.say(1)
    gateway.say(2, 6)
    gateway.workers.hear()
    assert gateway.workers.board.pids == {1, 2}
    assert gateway.accepted == 11


def test_last_words_are_heard_before_their_worker_is_gone(gateway: Gateway) -> None:
    """A worker reports and exits within a moment. The ops process saw that it had ended before it
    read the report: the worker was there again, for half a second, and was counted twice."""
    gateway.say(1, 5)
    gateway.say(2, 6)
    gateway.workers.hear()
    gateway.say(1, 8, state="draining")
    gateway.alive.discard(1)
    gateway.workers.reap()
    assert gateway.accepted == 14
    assert gateway.workers.board.pids == {2}
    gateway.workers.hear()
    gateway.workers.reap()
    assert gateway.accepted == 14
    assert gateway.workers.totals.pids == {2}


def test_a_worker_of_an_earlier_ops_process_that_has_ended_leaves_its_counts(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Both were killed: the worker is known by the file alone, and no report of it comes."""
    gateway.say(1, 5)
    gateway.workers.hear()
    gateway.workers.totals.save()
    gateway.alive.clear()
    later = Workers(2, tmp_path, gateway.alive.__contains__)
    later.reap()
    assert later.totals.pids == set()
    registry = CollectorRegistry()
    registry.register(later.totals)
    assert registry.get_sample_value(ACCEPTED) == 5
    later.close()


def test_only_a_process_that_is_there_is_alive() -> None:
    """This one is; one that was waited for is not."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert is_alive(os.getpid())
    assert not is_alive(pid)
