"""What goes between the bench and its generator processes."""

from __future__ import annotations

from msgspec import Struct

from bench.client import Who


class Setup(Struct, frozen=True, kw_only=True):
    """What a generator process is started with; fields as in `Options`.

    `speaks` is a name of `bench.worker.SPEAKS`.
    """

    number: int
    run: int
    who: tuple[Who, ...]
    urls: tuple[str, ...]
    cacert: str | None
    source_ips: tuple[str, ...]
    size: int
    ack_every: float
    seed: int
    speaks: str = "homeport"


class Mark(Struct, frozen=True):
    """Counts at one moment; `cpu_s` is the process' own."""

    sent: int = 0
    accepted: int = 0
    delivered: int = 0
    connected: int = 0
    cpu_s: float = 0.0


class Connected(Struct, frozen=True):
    """How connecting went.

    `took_s` is from the first that was due to the last that was there; `first_ns` is when the
    first was there. `resumed` counts TLS sessions that were taken up.
    """

    opened: int
    refused: dict[str, int]
    took_s: float
    first_ns: int
    times: bytes
    resumed: int


class Outcome(Struct, frozen=True):
    """What a process counted in all, and its encoded histograms."""

    counts: dict[str, int]
    refused: dict[str, int]
    closes: dict[int, int]
    histograms: dict[str, bytes]
    last_ns: int
