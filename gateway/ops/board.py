"""What the workers reported, and what that says: live, ready, started, how far the drain is.

No I/O: reports and the time are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.ops.datagrams import Report

LIVE_S: Final = 5.0
"""A worker that sent no report for this long hangs."""

SILENT_S: Final = 1.0
"""/readyz names a worker as silent that sent no report for this long; several are then missing."""

PROOF_S: Final = 1.5
"""How old the last proof of delivery may be. Probes leave every half second and have one second to
come back, so an older proof means that one has failed."""

WRONG_REDIS: Final = "region"
FORBIDDEN: Final = "acl"
"""The fault of a worker that does not use the Redis it finds."""

FAULTS: Final = {
    WRONG_REDIS: "this Redis is empty, or is not the region's: the log says more; see redis_url",
    "link": "Redis does not answer commands",
    "pubsub": "what is published in Redis does not come back",
    "keyring": "what was sealed does not open: is the key file right?",
    "late": "a probe took longer than a second to come back",
    "full": "Redis has reached its maxmemory and takes no message",
    "disk": "Redis can't write to its disk and takes no message (MISCONF)",
    "readonly": "Redis is a replica, or was made read-only",
    "replicas": "too few replicas confirm what is written",
    FORBIDDEN: "Redis does not let this user do what a send does (NOPERM)",
    "refused": "Redis refuses what a send does; the log says with which word",
    "eviction": "Redis throws messages away when it is full (maxmemory-policy)",
    "durability": "Redis answers before the disk has it (appendonly, appendfsync)",
}
"""The faults of a probe, and what they mean."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the answer is no: which part, of which worker ("" for all), and what is wrong."""

    worker: str
    part: str
    text: str


@dataclass(frozen=True, slots=True)
class DrainProgress:
    """How far the drain is. `state` is ready or draining; sessions are counted over all workers."""

    state: str
    to_drain: int
    left: int
    workers: int


@dataclass(slots=True)
class _Heard:
    report: Report
    at: float


class Board:
    """Knows the workers by their reports. `expected` is how many there should be.

    `steady` is a monotonic clock, in seconds.
    """

    def __init__(self, expected: int, steady: Callable[[], float]) -> None:
        self._expected = expected
        self._steady = steady
        self._workers: dict[int, _Heard] = {}
        self._seen: set[int] = set()
        self._left: list[Report] = []  # the last words of those that have left in this drain
        self._started = False

    def take(self, report: Report) -> None:
        """A worker has reported."""
        if report.pid not in self._workers:
            if report.state != "draining":
                self._left.clear()  # one that comes belongs to no drain
            self._seen.add(report.pid)
        self._workers[report.pid] = _Heard(report, self._steady())

    def end(self, pid: int) -> None:
        """The process `pid` has ended; it may have been no worker."""
        heard = self._workers.pop(pid, None)
        if heard is not None and heard.report.state == "draining":
            self._left.append(heard.report)

    # -- what that says ----------------------------------------------------------------------------

    @property
    def pids(self) -> set[int]:
        """The processes of the workers that are there."""
        return set(self._workers)

    @property
    def workers(self) -> int:
        """How many workers are there."""
        return len(self._workers)

    @property
    def restarts(self) -> int:
        """How many have taken the place of another one, as far as this process has seen."""
        return max(len(self._seen) - self._expected, 0)

    def hanging(self) -> list[Problem]:
        """The workers that should be started anew: their loop does not turn, or a task that they
        need has ended, and they with it, if they can."""
        now = self._steady()
        hanging = [
            Problem(
                heard.report.worker, "loop", f"it has reported nothing for {now - heard.at:.1f} s"
            )
            for heard in self._workers.values()
            if now - heard.at > LIVE_S
        ]
        return hanging + [
            Problem(heard.report.worker, "task", f"its task {heard.report.lost} has ended")
            for heard in self._workers.values()
            if heard.report.lost
        ]

    def unready(self) -> list[Problem]:
        """What keeps the gateway from delivering; empty: it is ready."""
        problems = []
        if self._is_leaving():
            problems.append(Problem("", "drain", "the gateway is leaving"))
        if self.workers < self._expected:
            there = f"{self.workers} of {self._expected} workers are there"
            problems.append(Problem("", "workers", there))
        for heard in self._workers.values():
            problem = self._unready(heard)
            if problem is not None:
                problems.append(problem)
        if not problems:
            self._started = True
        return problems

    def _unready(self, heard: _Heard) -> Problem | None:
        report = heard.report
        silent = self._steady() - heard.at
        if silent > SILENT_S:
            return Problem(report.worker, "loop", f"it has reported nothing for {silent:.1f} s")
        if report.state == "draining":
            return Problem(report.worker, "drain", "it is leaving")
        starting = report.state == "starting"
        if report.fault == WRONG_REDIS or (starting and report.fault == FORBIDDEN):
            return Problem(report.worker, report.fault, FAULTS[report.fault])
        if starting:
            return Problem(report.worker, "start", "it is starting")
        if report.proof_s < 0:
            what = FAULTS[report.fault]
            return Problem(report.worker, report.fault, f"no probe has come back yet: {what}")
        if report.clock_off_s:
            what = f"this machine's clock is {report.clock_off_s:+.1f} s off Redis': run NTP"
            return Problem(report.worker, "clock", what)
        age = report.proof_s + silent
        if age > PROOF_S:
            what = FAULTS[report.fault]
            return Problem(report.worker, report.fault, f"for {age:.1f} s: {what}")
        return None

    @property
    def started(self) -> bool:
        """True once the gateway has been ready."""
        return self._started or not self.unready()

    def _is_leaving(self) -> bool:
        """All workers leave, and not only one, in whose place comes another."""
        states = {heard.report.state for heard in self._workers.values()}
        return states == {"draining"} if states else bool(self._left)

    def drain(self) -> DrainProgress:
        """How far the drain is."""
        leaving = [
            heard.report for heard in self._workers.values() if heard.report.state == "draining"
        ]
        return DrainProgress(
            state="draining" if self._is_leaving() else "ready",
            to_drain=sum(report.to_drain for report in leaving + self._left),
            left=sum(report.left for report in leaving),
            workers=self.workers,
        )
