"""``bench report``: results as one HTML page that needs nothing else, alone or beside others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from typing import Final

from bench import plots
from bench.record import SHOWN
from bench.result import Result
from bench.show import ms, number

_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1000px; padding: 0 1em; }
table { border-collapse: collapse; margin: .6em 0 1.2em; }
td, th { padding: .15em .8em .15em 0; text-align: right; border-bottom: 1px solid #8883; }
td:first-child, th:first-child { text-align: left; }
.plots { display: flex; flex-wrap: wrap; gap: 1em; } .plots svg { max-width: 480px; height: auto; }
.warning { color: #b00; font-weight: 600; }
small { color: #777; }
"""

_Row = tuple[str, list[float | None], Callable[[float], str]]


def page(first: list[Result], second: list[Result] | None = None) -> str:
    """The page. Results of both are put side by side where their labels agree."""
    others = {result.label: result for result in second or ()}
    names = ("", "") if second is None else (", A", ", B")
    body = [f"<h1>Homeport bench</h1>{_where('A' if second else '', first)}"]
    if second:
        body.append(_where("B", second))
    seen = set()
    for result in first:
        seen.add(result.label)
        pair = [(names[0], result)]
        if (other := others.get(result.label)) is not None:
            pair.append((names[1], other))
        body.append(_section(pair))
    body += [_section([(names[1], one)]) for one in second or () if one.label not in seen]
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Homeport bench</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _where(name: str, results: list[Result]) -> str:
    if not results:
        return ""
    one = results[0]
    facts = [*one.machine.values(), *(f"{key} {value}" for key, value in one.versions.items())]
    start = f"{name}: " if name else ""
    return f"<p><small>{start}{escape(one.started)}; {escape('; '.join(facts))}</small></p>"


def _section(pair: list[tuple[str, Result]]) -> str:
    result = pair[0][1]
    parts = [f"<h2>{escape(result.label)}</h2><p>{_options(pair)}</p>"]
    for name, one in pair:
        told = f"{name.removeprefix(', ')}: " if name else ""
        parts += [f"<p class='warning'>{escape(told + text)}</p>" for text in one.warnings]
    both = len(pair) == 2
    heads = ["", "A", "B", "B to A"] if both else [""] * 2
    parts.append(_table(heads, _rows([one for _, one in pair])))
    drawn = [draw(pair) for draw in (plots.latency, plots.over_time, plots.memory)]
    parts.append(f"<div class='plots'>{''.join(one for one in drawn if one)}</div>")
    return "".join(parts)


def _options(pair: list[tuple[str, Result]]) -> str:
    shown = []
    for key, value in pair[0][1].options.items():
        values = [one.options.get(key) for _, one in pair]
        if value not in (None, [], (), False):
            told = " / ".join(escape(str(one)) for one in dict.fromkeys(map(str, values)))
            shown.append(f"{key} {told}")
    return ", ".join(shown)


def _rows(results: list[Result]) -> list[_Row]:
    rows: list[_Row] = []
    for name in _names(result.figures for result in results):
        rows.append((name, [one.figures.get(name) for one in results], number))
    for kind in _names(result.latency for result in results):
        for percentile in (*SHOWN, "max"):
            values = []
            for one in results:
                latency = one.latency.get(kind)
                values.append(None if latency is None else latency.percentiles[percentile])
            rows.append((f"{kind} {percentile}, ms", values, ms))
    for name in _names(result.counts for result in results):
        rows.append((name, [one.counts.get(name) for one in results], number))
    for word, what in (("refused", "refused"), ("closed", "closes")):
        tables = [getattr(one, what) for one in results]
        for name in _names(tables):
            rows.append((f"{word}: {name}", [table.get(name, 0) for table in tables], number))
    return rows


def _names(tables: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for table in tables for name in table))


def _table(heads: list[str], rows: list[_Row]) -> str:
    lines = []
    for name, values, form in rows:
        cells = ["" if value is None else form(value) for value in values]
        if len(values) == 2:
            cells.append(_change(*values))
        told = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr><td>{escape(name)}</td>{told}</tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _change(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return ""
    if not before:
        return "" if not after else "new"
    return f"{(after - before) / before:+.1%}"
