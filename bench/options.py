"""What a run is told: the options of every scenario, with each scenario's own defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from gateway import files


class BenchError(Exception):
    """The bench can't go on; the text says why and what to do."""


class UsageError(BenchError):
    """The command line makes no sense; the text says what would."""


class Options(Struct, frozen=True, kw_only=True):
    """One scenario's options.

    Attributes:
        urls: gateways to load; empty to start one. Clients are spread over them in turn.
        tls: whether a gateway that the bench starts is spoken to over WSS.
        clients: sessions. `rooms` times `members` sessions where there are rooms or groups.
        ramp: sessions opened a second; 0 for as many as will go, 64 at a time a process.
        rate: messages a second, all senders together.
        duration: seconds of measuring, after `warmup` seconds of the same load.
        size: bytes of a body.
        procs: generator processes.
        ack_every: seconds between a client's acks, as the SDK's; 0 acks what each read brought.
        source_ips: local addresses to connect from, in turn: 28,000 connections each.
        start_id: number of the first user, ``bench-<number>``.
        token_file: one token a line, for clients in turn, instead of `app` and `certificate`.
        cacert: PEM file of the CA to trust; the system's without it.
        seed: of whatever is random.
    """

    urls: tuple[str, ...] = ()
    tls: bool = False
    clients: int = 100
    ramp: float = 500
    rate: float = 50
    duration: float = 10
    warmup: float = 2
    size: int = 128
    rooms: int = 1
    members: int = 1000
    procs: int = 1
    ack_every: float = 0.5
    source_ips: tuple[str, ...] = ()
    start_id: int = 0
    token_file: str | None = None
    app: str | None = None
    certificate: str | None = None
    cacert: str | None = None
    seed: int = 1


DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "conn": {"clients": 10_000, "ramp": 500, "duration": 60, "warmup": 2, "rate": 0},
    "fanout": {"rooms": 1, "members": 1000, "rate": 50},
    "chat": {"clients": 200, "rate": 2000},
    "group": {"rooms": 1, "members": 1000, "rate": 10},
    "offline": {"clients": 1, "rate": 5000, "duration": 2, "warmup": 0},
    "storm": {"clients": 1000, "ramp": 0, "tls": True, "duration": 2, "warmup": 0, "rate": 0},
    "beside": {"clients": 20, "rate": 50, "rooms": 1, "members": 10_000},
    "soak": {"clients": 200, "rate": 500, "rooms": 1, "members": 50, "duration": 3600},
}
"""What differs from `Options`' own defaults. With them a scenario measures the gateway's target."""


def read_secret(path: str) -> str:
    """What a file holds that is no argument: those of a process are shown to the whole machine.

    Raises:
        UsageError: it can't be read.
    """
    try:
        return files.read(Path(path)).data.decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"{path} can't be read: {why}") from None


def options_for(scenario: str, given: dict[str, Any]) -> Options:
    """A scenario's options: `given` ones, where not None, over its defaults.

    Raises:
        UsageError: they make no sense together.
    """
    chosen = {key: value for key, value in given.items() if value is not None}
    options = Options(**DEFAULTS[scenario] | chosen)
    if options.size < 24:
        raise UsageError("--size must be 24 or more: a body carries its sender, number and time")
    if options.urls and not (options.token_file or (options.app and options.certificate)):
        raise UsageError(
            "--url needs --token-file, or --app with --certificate-file, to sign tokens"
        )
    if options.procs < 1 or options.clients < 1 or options.rooms < 1 or options.members < 1:
        raise UsageError("--procs, --clients, --rooms and --members are 1 or more")
    if options.duration <= 0:
        raise UsageError("--duration must be more than 0")
    return options
