"""What is seen from outside while a scenario runs, once a second: CPU, memory, progress."""

from __future__ import annotations

import sys
import time
from typing import Final

from rich.console import Console

from bench import proc
from bench.commands import Mark
from bench.place import Place
from bench.result import Sample

EVERY_S: Final = 1.0
MOST_SAMPLES: Final = 4000
TELL_EVERY_S: Final = 5.0
"""Between two lines of progress where they do not go to a terminal."""


class Monitor:
    """Samples, and shows progress on stderr: one live line on a terminal, else now and then one."""

    def __init__(self, name: str, place: Place) -> None:
        self._name = name
        self._place = place
        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status(name) if self._console.is_terminal else None
        self.begin_s = time.monotonic()
        self._every = EVERY_S
        self._sampled = 0.0
        self._told = 0.0
        self._marks: list[float] = []
        self._phase = "starting"
        self.series: list[Sample] = []
        self.marked: list[Sample] = []

    def start(self) -> None:
        """Begin to show progress."""
        if self._status is not None:
            self._status.start()

    def stop(self) -> None:
        """Clear the live line."""
        if self._status is not None:
            self._status.stop()

    def enter(self, phase: str) -> None:
        """Say what goes on from now on."""
        self._phase = phase
        self._tell(f"{self._name}: {phase}")

    def measure_from(self, begin_ns: int, end_ns: int) -> None:
        """Measuring begins and ends then, in monotonic nanoseconds: exact samples, in `marked`."""
        self.begin_s = begin_ns / 1e9
        self._marks = [begin_ns / 1e9, end_ns / 1e9]
        self.marked.clear()

    def turn(self, counts: Mark) -> None:
        """Take a sample if one is due."""
        now = time.monotonic()
        if self._marks and now >= self._marks[0]:
            self._marks.pop(0)
            self.marked.append(self.sample(counts))
        if now - self._sampled >= self._every:
            self._sampled = now
            self.series.append(self.sample(counts))
            if len(self.series) > MOST_SAMPLES:  # hours: half as many, twice as far apart
                del self.series[1::2]
                self._every *= 2
            self._show(now)

    def sample(self, counts: Mark) -> Sample:
        """Everything as it is now."""
        gateway_cpu, gateway_rss = 0.0, 0
        for pid in self._place.gateway_pids:
            used = proc.usage(pid)
            if used is not None:
                gateway_cpu += used.cpu_s
                gateway_rss += used.rss
        redis = proc.usage(self._place.redis_pid) if self._place.redis_pid else None
        idle, all_cores = proc.machine_cpu()
        return Sample(
            at_s=time.monotonic(),
            gateway_cpu_s=gateway_cpu,
            gateway_rss=gateway_rss,
            redis_cpu_s=redis.cpu_s if redis else 0.0,
            generator_cpu_s=counts.cpu_s,
            idle_cpu_s=idle,
            all_cpu_s=all_cores,
            sent=counts.sent,
            delivered=counts.delivered,
            connected=counts.connected,
        )

    def _show(self, now: float) -> None:
        line = f"{self._name}: {self._phase}"
        if len(self.series) >= 2:
            before, last = self.series[-2:]
            passed = last.at_s - before.at_s
            line += (
                f", {last.connected} connected, {(last.sent - before.sent) / passed:.0f} sent/s, "
                f"{(last.delivered - before.delivered) / passed:.0f} delivered/s"
            )
            if self._place.gateway_pids:
                line += (
                    f", gateway {(last.gateway_cpu_s - before.gateway_cpu_s) / passed:.0%}"
                    f" {last.gateway_rss / 2**20:.0f} MiB"
                )
            busy = (last.generator_cpu_s - before.generator_cpu_s) / passed
            line += f", generator {busy:.0%}"
        if self._status is not None or now - self._told >= TELL_EVERY_S:
            self._tell(line)

    def _tell(self, line: str) -> None:
        self._told = time.monotonic()
        if self._status is not None:
            self._status.update(line)
        else:
            print(line, file=sys.stderr, flush=True)
