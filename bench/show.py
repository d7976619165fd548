"""Results as text on the terminal, as CSV, and as HdrHistogram's own percentile files."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.record import SHOWN, decoded
from bench.result import Result, Sample
from bench.targets import judged


def show(result: Result) -> None:
    """Print a result."""
    console = Console(highlight=False)
    console.print(f"\n[bold]{result.label}[/bold]  {_told(result)}")
    if result.latency:
        table = Table("", "count", *SHOWN, "max", box=None, pad_edge=False, header_style="bold")
        for column in table.columns[1:]:
            column.justify = "right"
        for kind, latency in result.latency.items():
            values = [ms(latency.percentiles[name]) for name in (*SHOWN, "max")]
            table.add_row(f"{kind} ms", str(latency.count), *values)
        console.print(table)
    counts = {name: value for name, value in result.counts.items() if value}
    zero = [name for name in ("lost", "doubled", "reordered") if not result.counts.get(name)]
    words = [f"{name} {value}" for name, value in counts.items()]
    console.print(", ".join([*words, f"{', '.join(zero)} 0" if zero else ""]).strip(", "))
    for word, found in (("refused", result.refused), ("closed", result.closes)):
        if found:
            console.print(f"{word}: " + ", ".join(f"{name} {n}" for name, n in found.items()))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right")
    for name, value in result.figures.items():
        table.add_row(number(value), name)
    console.print(table)
    for warning in result.warnings:
        console.print(f"[bold red]{warning}[/bold red]")


def side_by_side(results: list[Result]) -> None:
    """Print what an operation cost the server and its Redis, a line each result."""
    table = Table(
        "", "server us", "Redis us", "both us", "p50 ms", "p99 ms", "lost", box=None, pad_edge=False
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for result in results:
        server = result.figures.get(f"gateway us per {result.operation}")
        redis = result.figures.get(f"redis us per {result.operation}", 0.0)
        latency = result.latency.get("delivery")
        table.add_row(
            f"{result.label}, per {result.operation}",
            "" if server is None else number(server),
            number(redis),
            "" if server is None else number(server + redis),
            "" if latency is None else ms(latency.percentiles["p50"]),
            "" if latency is None else ms(latency.percentiles["p99"]),
            str(result.counts["lost"]),
        )
    console = Console(highlight=False)
    console.print()
    console.print(table)


def targets(results: list[Result]) -> None:
    """Print the gateway's targets and what was found."""
    table = Table("target", "found", "", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for target, value in judged(results):
        sign = ">=" if target.least else "<="
        met = "" if target.met(value) else "[bold red]missed[/bold red]"
        table.add_row(f"{target.name} {sign} {number(target.limit)}", number(value), met)
    console = Console(highlight=False)
    console.print()
    console.print(table)


def _told(result: Result) -> str:
    options = result.options
    size = (
        f"{options['rooms']} x {options['members']} members"
        if result.scenario in {"fanout", "group"}
        else f"{options['clients']} clients"
    )
    return (
        f"{size}, {options['rate']:g}/s, {options['size']} B, {result.window_s:g} s, "
        f"{result.operations} x {result.operation}, seed {options['seed']}"
    )


def ms(microseconds: float) -> str:
    """Microseconds as milliseconds, to three digits."""
    return number(microseconds / 1000)


def number(value: float) -> str:
    """A number to three digits, without an exponent."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def write_csv(path: Path, results: list[Result]) -> None:
    """The series, one line a sample."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", *Sample.__struct_fields__])
        for result in results:
            for sample in result.series:
                writer.writerow([result.label, *msgspec.structs.astuple(sample)])


def write_hdr(folder: Path, results: list[Result]) -> None:
    """One percentile distribution a latency, in milliseconds, as HdrHistogram's tools read it."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        for kind, latency in result.latency.items():
            name = f"{result.label} {kind}".replace(" ", "-")
            with (folder / f"{name}.hgrm").open("wb") as file:
                decoded(latency).output_percentile_distribution(file, 1000.0)
