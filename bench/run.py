"""One scenario's run: its place, its generators, its phases, and what comes out of them."""

from __future__ import annotations

import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from bench import result
from bench.client import Who
from bench.commands import Connected, Mark, Outcome, Setup
from bench.generators import Generators, total
from bench.ledger import Sent
from bench.monitor import Monitor
from bench.options import BenchError, Options
from bench.place import Place, open_place, user_of
from bench.record import Latency, merged
from bench.result import Result, Sample

_NS: Final = 1_000_000_000
_SOON_NS: Final = 200_000_000
"""From a command to the moment that it is about, so that all processes have it by then."""

BUSY: Final = 0.85
"""The share of a core from which a generator process counts as the limit."""

IDLE: Final = 0.1
"""The share of the machine's CPU below which something always waits for a core."""

LATE_US: Final = 5_000
"""How late a send may be (its 99th percentile) before latencies are the generator's own."""


@dataclass(frozen=True, slots=True)
class Window:
    """The measured time: samples from outside and the generators' counts, at both ends."""

    first: Sample
    last: Sample
    sent: int
    accepted: int
    delivered: int
    generator_cpu_s: tuple[float, ...]
    seconds: float

    @property
    def gateway_cpu_s(self) -> float:
        """CPU seconds of the gateway."""
        return self.last.gateway_cpu_s - self.first.gateway_cpu_s

    @property
    def redis_cpu_s(self) -> float:
        """CPU seconds of Redis."""
        return self.last.redis_cpu_s - self.first.redis_cpu_s


class Run:
    """A context manager: the place, that of `options` unless given, and then the generators."""

    def __init__(
        self,
        scenario: str,
        options: Options,
        label: str,
        place: AbstractContextManager[Place] | None = None,
    ) -> None:
        self._opening = place or open_place(options)
        self.scenario = scenario
        self.label = label
        self.options = options
        self.random = random.Random(options.seed)
        self.place: Place
        self.monitor: Monitor
        self.latency: dict[str, Latency] = {}
        self.figures: dict[str, float] = {}
        self.warnings: list[str] = []
        self.connect_refused: Counter[str] = Counter()
        self._stack = ExitStack()
        self._generators: Generators
        self._started = datetime.now(UTC)
        self._setups: list[Setup] = []

    def __enter__(self) -> Self:
        self.place = self._stack.enter_context(self._opening)
        self.monitor = Monitor(self.label, self.place)
        self.monitor.start()
        self._stack.callback(self.monitor.stop)
        if self.place.start_s is not None:
            self.figures["gateway start s"] = self.place.start_s
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    # -- phases ----------------------------------------------------------------------------------

    def users(self, count: int) -> list[tuple[str, str]]:
        """`count` users and their tokens.

        Raises:
            BenchError: the token file has fewer.
        """
        options = self.options
        if options.token_file is not None:
            try:
                lines = Path(options.token_file).read_text("ascii").split()
            except OSError as error:
                raise BenchError(f"{options.token_file} can't be read: {error.strerror}") from None
            if len(lines) < count:
                raise BenchError(
                    f"{options.token_file} has {len(lines)} tokens, {count} are needed"
                )
            return [(user_of(token), token) for token in lines[:count]]
        names = (f"bench-{options.start_id + number}" for number in range(count))
        return [(name, self.place.token(name)) for name in names]

    def start(self, people: Sequence[Who], apart: Sequence[Who] = ()) -> None:
        """Start the generator processes, with clients dealt out in turn.

        Those `apart` get a process of their own, in which nobody else's reading holds them up.
        """
        options = self.options
        procs = min(options.procs, len(people))
        shares = [tuple(people[number::procs]) for number in range(procs)]
        if apart:
            shares.append(tuple(apart))
        run = secrets.randbits(32)
        self._setups = [
            Setup(
                number=number,
                run=run,
                who=share,
                urls=self.place.urls,
                cacert=self.place.cacert,
                source_ips=options.source_ips,
                size=options.size,
                ack_every=options.ack_every,
                seed=options.seed,
                speaks=self.place.speaks,
            )
            for number, share in enumerate(shares)
        ]
        generators = Generators(self._setups, self.monitor.turn)
        self._generators = self._stack.enter_context(generators)
        self._generators.call("ready")

    def connect(
        self, *, name: str = "connect", late: bool = False, resume: bool = False
    ) -> list[Connected]:
        """Open the connections, by ``--ramp``."""
        self.monitor.enter("connecting")
        begin = time.monotonic_ns() + _SOON_NS
        ramp = self.options.ramp / len(self._setups)
        found: list[Connected] = self._generators.call("connect", ramp, begin, late, resume)
        for one in found:
            self.connect_refused.update(one.refused)
        if (latency := merged(one.times for one in found)) is not None:
            self.latency[name] = latency
        if not any(one.opened for one in found):
            raise BenchError(f"no connection could be opened: {dict(self.connect_refused)}")
        return found

    def drop(self) -> None:
        """End all connections without a word."""
        self._generators.call("drop")

    def prepare(self) -> None:
        """Join rooms, create groups."""
        self.monitor.enter("preparing")
        self._generators.call("prepare")

    def load(self) -> Window:
        """Send at ``--rate`` for ``--warmup`` and ``--duration``, or just hold where it is 0."""
        options = self.options
        begin = time.monotonic_ns() + _SOON_NS
        measured = begin + int(options.warmup * _NS)
        until = measured + int(options.duration * _NS)
        self.monitor.measure_from(measured, until)
        self.monitor.enter("loading" if options.rate else "holding")
        senders = [
            sum(1 for who in setup.who if who.sends_to or who.group) for setup in self._setups
        ]
        all_senders = sum(senders) or 1
        marks: list[tuple[Mark, Mark]] = self._generators.call_each(
            "load",
            # Processes take turns: each begins a little later than the one before.
            [
                (
                    options.rate * own / all_senders,
                    begin + (int(number / options.rate * _NS) if options.rate else 0),
                    measured,
                    until,
                )
                for number, own in enumerate(senders)
            ],
        )
        self.monitor.turn(self._generators.latest())  # where the last mark is still to come
        first, last = total([one[0] for one in marks]), total([one[1] for one in marks])
        return Window(
            first=self.monitor.marked[0],
            last=self.monitor.marked[1],
            sent=last.sent - first.sent,
            accepted=last.accepted - first.accepted,
            delivered=last.delivered - first.delivered,
            generator_cpu_s=tuple(after.cpu_s - before.cpu_s for before, after in marks),
            seconds=options.duration,
        )

    def answers(self) -> dict[int, Sent]:
        """Wait for the answers to all sends; who sent what."""
        self.monitor.enter("waiting for answers")
        parts: list[dict[int, Sent]] = self._generators.call("answers")
        return {index: sent for part in parts for index, sent in part.items()}

    def settle(self, sent: dict[int, Sent]) -> list[Outcome]:
        """Wait for all deliveries; everything that was counted."""
        self.monitor.enter("settling")
        outcomes: list[Outcome] = self._generators.call("settle", sent)
        return outcomes

    def sample(self) -> Sample:
        """Everything as it is now."""
        return self.monitor.sample(self._generators.latest())

    def settled_sample(self) -> Sample:
        """Everything as it is once the gateway has been idle for a moment."""
        pause_until = time.monotonic_ns() + _NS
        self._generators.call("hold", pause_until, pause_until)
        return self.sample()

    # -- what comes out --------------------------------------------------------------------------

    def cost(self, window: Window, operation: str, count: int) -> None:
        """Note what one operation cost, and warn where the generator was the limit."""
        if not count:
            raise BenchError(f"not one {operation} was counted in the measured time")
        if self.place.gateway_pids:
            self.figures[f"gateway us per {operation}"] = window.gateway_cpu_s / count * 1e6
            self.figures["gateway cores"] = window.gateway_cpu_s / window.seconds
        if self.place.redis_pid is not None:
            self.figures[f"redis us per {operation}"] = window.redis_cpu_s / count * 1e6
            self.figures["redis cores"] = window.redis_cpu_s / window.seconds
        generator_us = sum(window.generator_cpu_s) / count * 1e6
        self.figures[f"generator us per {operation}"] = generator_us
        self.figures[f"{operation} per s and generator core"] = 1e6 / generator_us
        busiest = max(window.generator_cpu_s) / window.seconds
        self.figures["generator cores, busiest process"] = busiest
        if busiest > BUSY:
            self.warnings.append(
                f"THE GENERATOR WAS THE LIMIT: a process used {busiest:.0%} of a core; "
                f"give it more --procs, or more machines"
            )
        all_s = window.last.all_cpu_s - window.first.all_cpu_s
        idle = (window.last.idle_cpu_s - window.first.idle_cpu_s) / all_s if all_s else 1.0
        self.figures["machine idle"] = idle
        if idle < IDLE:
            self.warnings.append(
                f"THE MACHINE WAS FULL: {idle:.0%} of its CPU was idle, so latencies are those of "
                f"waiting for a core; CPU seconds per {operation} still mean something"
            )
        wanted = self.options.rate * window.seconds
        if window.sent < 0.98 * wanted:
            self.warnings.append(
                f"THE GENERATOR WAS LATE: {window.sent} of {wanted:.0f} messages left in time"
            )

    def result(self, operation: str, operations: int, outcomes: Iterable[Outcome]) -> Result:
        """The result, with everything that was noted."""
        counts: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        closes: Counter[int] = Counter()
        histograms: dict[str, list[bytes]] = {}
        for outcome in outcomes:
            counts.update(outcome.counts)
            refused.update(outcome.refused)
            closes.update(outcome.closes)
            for name, part in outcome.histograms.items():
                histograms.setdefault(name, []).append(part)
        refused.update({f"connect: {name}": n for name, n in self.connect_refused.items()})
        for name, parts in histograms.items():
            if (latency := merged(parts)) is not None:
                self.latency[name] = latency
        lag = self.latency.get("send lag")
        if lag is not None and lag.percentiles["p99"] > LATE_US:
            self.warnings.append(
                f"THE GENERATOR WAS LATE: 1 of 100 sends left {lag.percentiles['p99'] / 1000:.1f} "
                f"ms after it was due, or later; latencies hold that"
            )
        if not self.place.gateway_pids:
            self.warnings.append(
                "the gateway is not on this machine: its CPU and memory are not seen"
            )
        return Result(
            scenario=self.scenario,
            label=self.label,
            options=msgspec.to_builtins(self.options)
            | {"certificate": None},  # a secret has no place in a report
            started=self._started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            machine=result.machine(),
            versions=result.versions() | self.place.versions,
            operation=operation,
            operations=operations,
            window_s=self.options.duration,
            counts={name: counts[name] for name in counts},
            refused=dict(refused),
            closes=dict(closes),
            latency=self.latency,
            figures=self.figures,
            series=[
                msgspec.structs.replace(one, at_s=one.at_s - self.monitor.begin_s)
                for one in self.monitor.series
            ],
            warnings=self.warnings,
        )


Scenario = Callable[[Run], Result]
"""What runs in a `Run` that was entered. One a module of `bench.scenarios`."""


def run(
    scenario: str,
    work: Scenario,
    options: Options,
    label: str,
    place: AbstractContextManager[Place] | None = None,
) -> Result:
    """Run one scenario, in the place that `options` say unless another is given."""
    with Run(scenario, options, label, place) as here:
        return work(here)


def member(index: int, user: str, token: str, **fields: Any) -> Who:
    """A client on its user's only device."""
    return Who(index=index, user=user, device="bench", token=token, **fields)
