"""Histograms: percentiles within their digits, whatever the way."""

from __future__ import annotations

import random

import pytest

from bench.record import SHOWN, Recorder, decoded, merged


def test_percentiles_are_those_of_the_values() -> None:
    """To three digits, from microseconds to minutes, over two processes' halves."""
    chance = random.Random(7)
    values = [int(10 ** chance.uniform(3, 11)) for _ in range(20_000)]
    halves = [Recorder(), Recorder()]
    for number, value in enumerate(values):
        halves[number % 2].append(value)
        if number % 1000 == 0:
            halves[0].fold()
    found = merged(half.encoded() for half in halves)
    assert found is not None
    assert found.count == len(values)
    values.sort()
    for name, percent in SHOWN.items():
        exact = values[min(len(values) - 1, int(percent / 100 * len(values)))] / 1000
        assert found.percentiles[name] == pytest.approx(exact, rel=0.005)
    assert found.percentiles["max"] == pytest.approx(values[-1] / 1000, rel=0.002)
    assert decoded(found).get_value_at_percentile(50) == found.percentiles["p50"]


def test_a_recorder_is_empty_again_once_it_was_encoded() -> None:
    """What one phase recorded is not told again with the next."""
    recorder = Recorder()
    recorder.append(5_000_000)
    assert merged([recorder.encoded()]) is not None
    assert merged([recorder.encoded()]) is None


def test_less_than_a_microsecond_counts() -> None:
    """As one: the histogram has nothing smaller."""
    recorder = Recorder()
    recorder.append(10)
    found = merged([recorder.encoded()])
    assert found is not None
    assert found.percentiles["max"] == 1
