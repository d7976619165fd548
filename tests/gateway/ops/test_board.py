"""From reports to answers, with the clock in the test's hand."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.ops.board import FAULTS, LIVE_S, PROOF_S, WRONG_REDIS, Board
from gateway.ops.datagrams import Report


class Gateway:
    """A board, and its clock."""

    def __init__(self, expected: int = 1) -> None:
        self.now = 100.0
        self.board = Board(expected, lambda: self.now)

    def report(self, pid: int = 1, **changes: Any) -> None:
        """A report of worker `pid`, which delivers but for `changes`."""
        fields: dict[str, Any] = {
            "worker": f"w{pid}",
            "pid": pid,
            "state": "ready",
            "to_drain": 0,
            "left": 0,
            "proof_s": 0.1,
            "fault": "pubsub",
            "lost": "",
            **changes,
        }
        self.board.take(Report(**fields))

    def end(self, pid: int) -> None:
        """The worker's process ends."""
        assert pid in self.board.pids
        self.board.end(pid)
        assert pid not in self.board.pids

    @property
    def unready(self) -> list[tuple[str, str]]:
        """Which worker, and which part, keeps it from being ready."""
        return [(problem.worker, problem.part) for problem in self.board.unready()]


def test_nothing_is_ready_before_all_workers_are_there_and_have_proved_it() -> None:
    """Two should be there; each says when it starts, and must have had a probe back."""
    gateway = Gateway(expected=2)
    assert gateway.unready == [("", "workers")]
    gateway.report(1)
    assert gateway.unready == [("", "workers")]
    gateway.report(2, state="starting", proof_s=-1.0)
    assert gateway.unready == [("w2", "start")]
    gateway.report(2, proof_s=-1.0)
    assert gateway.unready == [("w2", "pubsub")]
    assert not gateway.board.started
    gateway.report(2)
    assert gateway.unready == []
    assert gateway.board.started


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {WRONG_REDIS}))
def test_a_proof_that_is_too_old_names_the_part(fault: str) -> None:
    """Counted from when the probe was sent, so the way of the report is in it."""
    gateway = Gateway()
    gateway.report(proof_s=PROOF_S - 0.2, fault=fault)
    assert gateway.unready == []
    gateway.now += 0.3
    assert gateway.unready == [("w1", fault)]
    assert gateway.board.started  # it was ready once


@pytest.mark.parametrize("state", ["starting", "ready"])
def test_a_redis_that_is_not_the_regions_is_named(state: str) -> None:
    """At the start too, where "it is starting" would have an operator wait: a person must act."""
    gateway = Gateway()
    gateway.report(state=state, proof_s=-1, fault=WRONG_REDIS)
    assert gateway.unready == [("w1", "region")]
    assert "redis_url" in gateway.board.unready()[0].text
    gateway.report(state="draining", fault=WRONG_REDIS)
    assert ("w1", "drain") in gateway.unready


def test_rights_that_are_missing_at_the_start_are_named() -> None:
    """As above: a gateway waits for them, and only a person can give them."""
    gateway = Gateway()
    gateway.report(state="starting", proof_s=-1, fault="acl")
    assert gateway.unready == [("w1", "acl")]


def test_a_worker_that_says_nothing_is_unready_and_later_not_alive() -> None:
    """Whatever it said last. The one beside it is not named."""
    gateway = Gateway(expected=2)
    gateway.report(1)
    gateway.now += LIVE_S - 1
    gateway.report(2)
    assert gateway.unready == [("w1", "loop")]
    assert gateway.board.hanging() == []
    gateway.now += 1.5
    assert [(p.worker, p.part) for p in gateway.board.hanging()] == [("w1", "loop")]


def test_a_worker_that_lacks_a_task_is_not_alive() -> None:
    """G10: it should have ended; until it has, whoever restarts what hangs is told."""
    gateway = Gateway()
    gateway.report(1, lost="redis-link")
    (problem,) = gateway.board.hanging()
    assert (problem.worker, problem.part) == ("w1", "task")
    assert "redis-link" in problem.text


def test_a_worker_that_has_ended_is_missed_and_not_called_hanging() -> None:
    """Its supervisor starts another, which counts as a restart."""
    gateway = Gateway(expected=2)
    gateway.report(1)
    gateway.report(2)
    assert gateway.board.restarts == 0
    gateway.end(1)
    gateway.now += LIVE_S + 1
    gateway.report(2)
    assert gateway.board.hanging() == []
    assert gateway.unready == [("", "workers")]
    gateway.report(3)
    assert gateway.unready == []
    assert (gateway.board.workers, gateway.board.restarts) == (2, 1)


def test_a_drain_adds_up_also_over_workers_that_have_left() -> None:
    """`to_drain` stays what it was when the drain began; `left` goes to 0."""
    gateway = Gateway(expected=2)
    gateway.report(1)
    gateway.report(2)
    assert gateway.board.drain().state == "ready"
    gateway.report(1, state="draining", to_drain=10, left=4)
    gateway.report(2, state="draining", to_drain=5, left=5)
    assert ("", "drain") in gateway.unready
    drain = gateway.board.drain()
    assert (drain.to_drain, drain.left, drain.workers) == (15, 9, 2)
    gateway.end(1)
    drain = gateway.board.drain()
    assert (drain.to_drain, drain.left, drain.workers) == (15, 5, 1)
    gateway.end(2)
    drain = gateway.board.drain()
    assert (drain.state, drain.to_drain, drain.left, drain.workers) == ("draining", 15, 0, 0)


def test_a_wrong_clock_is_a_reason_of_its_own() -> None:
    """A gateway whose machine's clock is wrong delivers, and should not be given clients."""
    gateway = Gateway()
    gateway.report(1, clock_off_s=-600.0)
    assert gateway.unready == [("w1", "clock")]
    assert "-600.0 s off" in gateway.board.unready()[0].text
    assert gateway.board.hanging() == []
    gateway.report(1)
    assert gateway.unready == []


def test_one_worker_that_leaves_alone_leaves_no_drain_behind() -> None:
    """Somebody sent it SIGTERM; its supervisor starts another, and the gateway is ready again."""
    gateway = Gateway()
    gateway.report(1, state="draining", to_drain=3, left=3)
    gateway.end(1)
    gateway.report(2)
    assert gateway.unready == []
    assert gateway.board.drain().to_drain == 0


def test_one_of_several_that_leaves_alone_is_no_drain() -> None:
    """The others go on, and another comes in its place."""
    gateway = Gateway(expected=2)
    gateway.report(1)
    gateway.report(2, state="draining", to_drain=3, left=3)
    assert gateway.board.drain().state == "ready"
    assert gateway.unready == [("w2", "drain")]
    gateway.end(2)
    assert gateway.board.drain().state == "ready"
