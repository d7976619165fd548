"""A result as a scenario makes it, for tests of what is done with results."""

from __future__ import annotations

import msgspec

from bench import result
from bench.options import options_for
from bench.record import Latency, new_histogram, summary
from bench.result import Result, Sample


def latency(*microseconds: int) -> Latency:
    """The latency of these values."""
    histogram = new_histogram()
    for value in microseconds:
        histogram.record_value(value)
    found = summary(histogram)
    assert found is not None
    return found


def make_result(label: str = "fanout", cost: float = 9.5) -> Result:
    """A fan-out: p50 1.5 ms, p99 7 ms, at most 20 ms."""
    delivery = latency(*[1500] * 90, *[7000] * 9, 20_000)
    return Result(
        scenario="fanout",
        label=label,
        options=msgspec.to_builtins(options_for("fanout", {})),
        started="2026-01-02T03:04:05Z",
        machine=result.machine(),
        versions=result.versions(),
        operation="delivery",
        operations=100,
        window_s=10.0,
        counts={
            "sent": 1,
            "accepted": 1,
            "delivered": 100,
            "lost": 0,
            "doubled": 0,
            "reordered": 0,
        },
        refused={"rate_limited": 1},
        closes={4003: 2},
        latency={"delivery": delivery, "answer": delivery},
        figures={"gateway us per delivery": cost, "gateway CPU to a bare send() loop": 1.2},
        series=[
            Sample(at, 0.3 * at, 90 << 20, 0.1 * at, 0.2 * at, at, 2 * at, 50, int(at * 1000), 1000)
            for at in (0.0, 1.0, 2.0)
        ],
        warnings=["THE MACHINE WAS FULL"],
    )
