"""``--slo``: what is read, what fails, and what is refused."""

from __future__ import annotations

import pytest

from bench import slo
from bench.options import UsageError, options_for
from bench.record import Latency
from bench.result import Result
from tests.bench.results import make_result


def failed(text: str, result: Result | None = None) -> list[str]:
    """What of `text` fails."""
    return slo.failures(slo.parse(text), result or make_result())


@pytest.mark.parametrize(
    "text",
    [
        "p50<2ms",
        "p50<=1.5ms,p99<8ms",
        "p99.9 < 0.021s",
        "max>=20000us",
        "answer.p99<8ms",
        "loss=0,dup=0,reorder=0",
        "refused<=1",
        "closes=2",
        "gateway us per delivery<10",
        "gateway cpu to a bare send() loop <= 1.25",
    ],
)
def test_what_holds_does_not_fail(text: str) -> None:
    """Percentiles with units, counts, and figures by the name in the table."""
    assert failed(text) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("p50<1.5ms", "p50<1.5ms: it is 1.5 ms in fanout"),
        ("p99<=6999us", "p99<=6999us: it is 7e+03 us in fanout"),
        ("loss>0", "loss>0: it is 0 in fanout"),
        ("closes=0", "closes=0: it is 2 in fanout"),
        ("gateway us per delivery<9", "gateway us per delivery<9: it is 9.5 in fanout"),
        ("connect.p99<1s", "connect.p99<1s: was not measured in fanout"),
        ("no such figure<1", "no such figure<1: was not measured in fanout"),
    ],
)
def test_what_does_not_hold_is_told(text: str, told: str) -> None:
    """With the value; and what was not measured does not pass for good."""
    assert failed(text) == [told]


@pytest.mark.parametrize("text", ["p50", "p99<5", "loss=0ms", "p50<5min", "<5", "", "p50<5ms,,"])
def test_what_can_not_be_read_is_refused(text: str) -> None:
    """Before anything starts; a latency without a unit is refused too."""
    with pytest.raises(UsageError):
        slo.parse(text)


def test_an_empty_latency_is_not_a_good_one() -> None:
    """Where nothing was delivered, there is no percentile to meet."""
    silent: dict[str, Latency] = {}
    result = make_result()
    result.latency = silent
    assert failed("p99<50ms", result) == ["p99<50ms: was not measured in fanout"]


def test_options_are_a_scenarios_own_unless_given() -> None:
    """What is None was not given."""
    options = options_for("fanout", {"members": 5, "rate": None})
    assert (options.members, options.rate) == (5, 50)


@pytest.mark.parametrize(
    "given",
    [
        {"size": 23},
        {"urls": ("ws://localhost:1/v1",)},
        {"urls": ("ws://localhost:1/v1",), "app": "x"},
        {"procs": 0},
        {"duration": 0.0},
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, object]) -> None:
    """With a word on what would."""
    with pytest.raises(UsageError):
        options_for("chat", given)
