"""``--slo "p99<50ms,loss=0"``: what must hold for exit code 0."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from bench.options import UsageError
from bench.record import SHOWN
from bench.result import Result

_TERM: Final = re.compile(
    r"\s*(?P<name>[a-z0-9_. ()-]+?)\s*(?P<sign><=|>=|<|>|=)\s*"
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>us|ms|s|)\s*"
)
_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}
_US: Final = {"us": 1.0, "ms": 1e3, "s": 1e6}
_COUNTS: Final = {"loss": "lost", "dup": "doubled", "reorder": "reordered"}
KINDS: Final = {"": "delivery", "answer.": "answer", "connect.": "connect"}


class Term(Struct, frozen=True):
    """One condition. `unit` is empty for a plain number."""

    text: str
    name: str
    sign: str
    number: float
    unit: str


def parse(text: str) -> list[Term]:
    """The conditions, which are separated by commas.

    A name is ``loss``, ``dup``, ``reorder``, ``refused``, ``closes``; a percentile (``p50`` to
    ``p99.9``, ``max``) of delivery, or of ``answer.`` or ``connect.``, with a unit; or a figure as
    the table shows it, without one.

    Raises:
        UsageError: it has another form.
    """
    terms = []
    for part in text.split(","):
        match = _TERM.fullmatch(part.lower())
        if match is None:
            raise UsageError(f'--slo has conditions like "p99<50ms,loss=0"; this is none: {part}')
        term = Term(
            part.strip(), match["name"], match["sign"], float(match["number"]), match["unit"]
        )
        if (_percentile(term.name) is not None) != bool(term.unit):
            raise UsageError(f"in --slo, a latency has a unit (us, ms, s) and nothing else: {part}")
        terms.append(term)
    return terms


def _percentile(name: str) -> tuple[str, str] | None:
    for prefix, kind in KINDS.items():
        rest = name.removeprefix(prefix)
        if name.startswith(prefix) and (rest in SHOWN or rest == "max"):
            return kind, rest
    return None


def failures(terms: list[Term], result: Result) -> list[str]:
    """The conditions that `result` does not meet, in words. What was not measured is not met."""
    told = []
    for term in terms:
        value = _value(term, result)
        if value is None:
            told.append(f"{term.text}: was not measured in {result.label}")
        elif not _SIGNS[term.sign](value, term.number * _US.get(term.unit, 1.0)):
            shown = f"{value / _US[term.unit]:.3g} {term.unit}" if term.unit else f"{value:.6g}"
            told.append(f"{term.text}: it is {shown} in {result.label}")
    return told


def _value(term: Term, result: Result) -> float | None:
    where = _percentile(term.name)
    if where is not None:
        kind, percentile = where
        latency = result.latency.get(kind)
        return None if latency is None else latency.percentiles[percentile]
    if term.name in _COUNTS:
        return result.counts.get(_COUNTS[term.name])
    if term.name == "refused":
        return sum(result.refused.values())
    if term.name == "closes":
        return sum(result.closes.values())
    figures = {name.lower(): value for name, value in result.figures.items()}
    return figures.get(term.name)
