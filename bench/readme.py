"""``python -m bench.readme ALL.json COMPARE.json`` writes the results into bench/README.md.

The first is of ``bench all --json``, the second of ``bench compare --json``. The part between the
two marks is replaced, and the plots beside it in ``bench/plots/``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from bench import plots
from bench.result import Result, load
from bench.show import ms, number
from bench.targets import judged

README: Final = Path(__file__).with_name("README.md")
PLOTS: Final = README.with_name("plots")
_MARKED: Final = re.compile(r"(?<=<!-- results: begin -->\n).*(?=<!-- results: end -->)", re.DOTALL)


def tables(found: list[Result], compared: list[Result]) -> str:
    """Both tables, the machine and the warnings, as Markdown."""
    one = found[0]
    versions = {key: value for result in found + compared for key, value in result.versions.items()}
    lines = [
        f"{one.started[:10]}; {'; '.join(one.machine.values())}; "
        f"{', '.join(f'{key} {value}' for key, value in versions.items())}.",
        "",
        *_conditions(found),
        "",
        "| target | at most / at least | found |",
        "|---|---|---|",
    ]
    for target, value in judged(found):
        sign = ">=" if target.least else "<="
        missed = "" if target.met(value) else " (missed)"
        lines.append(f"| {target.name} | {sign} {number(target.limit)} | {number(value)}{missed} |")
    lines += [
        "",
        "| | server us | Redis us | p50 ms | p99 ms | machine idle | lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in compared:
        delivery = result.latency["delivery"].percentiles
        server = result.figures.get(f"gateway us per {result.operation}", 0.0)
        redis = result.figures.get(f"redis us per {result.operation}")
        lines.append(
            f"| {result.label}, per {result.operation} | {number(server)} | "
            f"{'' if redis is None else number(redis)} | {ms(delivery['p50'])} | "
            f"{ms(delivery['p99'])} | {result.figures['machine idle']:.0%} | "
            f"{result.counts['lost']} |"
        )
    return "\n".join(lines) + "\n"


def _conditions(found: list[Result]) -> list[str]:
    """What the generator could do, and what else the machine was doing."""
    takes = "delivery per s and generator core"
    cores = [f"{one.label} {one.figures[takes]:,.0f}" for one in found if takes in one.figures]
    idle = [
        f"{one.label} {one.figures['machine idle']:.0%}"
        for one in found
        if "machine idle" in one.figures
    ]
    return [
        f"Deliveries a second that one core of the generator takes: {', '.join(cores)}.",
        f"Share of the machine that was idle meanwhile: {', '.join(idle)}.",
    ]


def draw(found: list[Result]) -> list[tuple[str, str]]:
    """The plots: a file name and SVG text each."""
    labelled = {result.label: [("", result)] for result in found}
    wanted = (
        ("fanout-latency", "fanout", plots.latency),
        ("chat-latency", "chat", plots.latency),
        ("fanout-over-time", "fanout", plots.over_time),
        ("conn-memory", "conn", plots.memory),
    )
    drawn = [(name, draw(labelled[label])) for name, label, draw in wanted if label in labelled]
    return [(f"{name}.svg", svg) for name, svg in drawn if svg is not None]


def main() -> None:
    """Write them."""
    found, compared = (load(Path(name)) for name in sys.argv[1:3])
    PLOTS.mkdir(exist_ok=True)
    images = []
    for name, svg in draw(found):
        (PLOTS / name).write_text(svg)
        images.append(f"![{name.removesuffix('.svg')}](plots/{name})\n")
    results = tables(found, compared) + "\n" + "".join(images)
    text, replaced = _MARKED.subn(lambda _: results, README.read_text())
    assert replaced == 1, "the marks are gone"
    README.write_text(text)


if __name__ == "__main__":
    main()
