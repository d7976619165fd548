"""The command line: ``python -m bench …`` and ``homeport bench …``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import result, show, slo
from bench.compare.peers import PEERS, missing
from bench.options import BenchError, UsageError, options_for, read_secret
from bench.place import Place
from bench.result import Result
from bench.run import run
from bench.scenarios import ALL, COMPARED, SCENARIOS

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Load a Homeport gateway, and measure. Without --url, one is started for it.",
    epilog="Exit codes: 0 done; 1 failed, or an SLO was not met; 2 wrong usage; 130 interrupted.",
)

_N = Annotated[int | None, typer.Option(metavar="N")]
_Seconds = Annotated[float | None, typer.Option(metavar="SECONDS")]
_PerSecond = Annotated[float | None, typer.Option(metavar="PER_S")]
_FileOut = Annotated[Path | None, typer.Option(metavar="FILE", dir_okay=False)]
_Names = Annotated[list[str] | None, typer.Option()]


def _command(name: str) -> Callable[..., None]:
    def command(
        url: Annotated[
            list[str] | None, typer.Option(help="A gateway; repeatable. Else one is started.")
        ] = None,
        tls: Annotated[
            bool | None, typer.Option("--tls/--plain", help="How to speak to one that is started.")
        ] = None,
        clients: _N = None,
        ramp: Annotated[
            float | None, typer.Option(metavar="PER_S", help="Connections a second; 0: all.")
        ] = None,
        rate: Annotated[
            float | None, typer.Option(metavar="PER_S", help="Messages a second, in all.")
        ] = None,
        duration: _Seconds = None,
        warmup: _Seconds = None,
        size: Annotated[int | None, typer.Option(metavar="BYTES", help="Of a body.")] = None,
        rooms: Annotated[int | None, typer.Option(metavar="N", help="Or groups.")] = None,
        members: Annotated[int | None, typer.Option(metavar="N", help="Of each room.")] = None,
        procs: Annotated[int | None, typer.Option(metavar="N", help="Generator processes.")] = None,
        ack_every: Annotated[
            float | None,
            typer.Option(metavar="SECONDS", help="Between acks; 0: after each read."),
        ] = None,
        source_ip: Annotated[
            list[str] | None, typer.Option(help="Connect from here; repeatable.")
        ] = None,
        start_id: Annotated[
            int | None, typer.Option(metavar="N", help="Number of the first user.")
        ] = None,
        token_file: Annotated[
            str | None, typer.Option(metavar="FILE", help="One token a line.")
        ] = None,
        app_id: Annotated[
            str | None,
            typer.Option("--app", metavar="ID", help="With --certificate-file: sign tokens."),
        ] = None,
        certificate_file: Annotated[
            str | None, typer.Option(metavar="FILE", help="The app's certificate, mode 0600.")
        ] = None,
        cacert: Annotated[str | None, typer.Option(metavar="FILE", help="The CA to trust.")] = None,
        seed: _N = None,
        slo_text: Annotated[
            str, typer.Option("--slo", metavar="TERMS", help='Like "p99<50ms,loss=0".')
        ] = "",
        json: _FileOut = None,
        csv: _FileOut = None,
        hdr: Annotated[
            Path | None, typer.Option(metavar="DIR", help="Write .hgrm files there.")
        ] = None,
        html: _FileOut = None,
    ) -> None:
        given: dict[str, Any] = {
            "urls": tuple(url) if url else None,
            "tls": tls,
            "clients": clients,
            "ramp": ramp,
            "rate": rate,
            "duration": duration,
            "warmup": warmup,
            "size": size,
            "rooms": rooms,
            "members": members,
            "procs": procs,
            "ack_every": ack_every,
            "source_ips": tuple(source_ip) if source_ip else None,
            "start_id": start_id,
            "token_file": token_file,
            "app": app_id,
            "certificate": None if certificate_file is None else read_secret(certificate_file),
            "cacert": cacert,
            "seed": seed,
        }
        terms = slo.parse(slo_text) if slo_text else []
        results = []
        chosen = {key: value for key, value in given.items() if value is not None}
        for label, scenario, own, place in _jobs(name, bool(url)):
            options = options_for(scenario, own | chosen)
            opening = place() if place is not None else None
            results.append(run(scenario, SCENARIOS[scenario], options, label, opening))
            show.show(results[-1])
        if name == "compare":
            show.side_by_side(results)
        if name == "all":
            show.targets(results)
        _keep(results, json, csv, hdr, html)
        failed = [line for one in results for line in slo.failures(terms, one)]
        for line in failed:
            typer.echo(f"SLO FAILED  {line}", err=True)
        if failed:
            raise typer.Exit(1)

    command.__doc__ = _HELP.get(name) or SCENARIOS[name].__doc__
    return command


_HELP = {
    "all": "Run all of them, one after the other.",
    "compare": "Run fanout and chat, also on NATS and on Socket.IO where they are installed.",
}

_Job = tuple[str, str, dict[str, Any], Callable[[], AbstractContextManager[Place]] | None]


def _jobs(name: str, elsewhere: bool) -> list[_Job]:
    """What a command runs: label, scenario, own options, and a place that is not Homeport."""
    if name == "compare":
        jobs: list[_Job] = [(scenario, scenario, {}, None) for scenario in COMPARED]
        for peer, place in PEERS.items():
            if (lack := missing(peer)) is not None:
                typer.echo(f"{peer} is skipped: {lack}", err=True)
            else:
                jobs += [(f"{one}, {peer}", one, {}, place) for one in COMPARED]
        return jobs
    if name == "all":
        # Where the address is given, there is no choice of how to speak to it.
        return [(*one, None) for one in ALL if not elsewhere or one[0] == one[1]]
    return [(name, name, {}, None)]


def _keep(
    results: list[Result], json: Path | None, csv: Path | None, hdr: Path | None, html: Path | None
) -> None:
    if json is not None:
        result.save(json, results)
    if csv is not None:
        show.write_csv(csv, results)
    if hdr is not None:
        show.write_hdr(hdr, results)
    if html is not None:
        from bench.report import page  # matplotlib takes a second

        html.write_text(page(results))


@app.command()
def report(
    first: Annotated[Path, typer.Argument(metavar="A.json")],
    second: Annotated[Path | None, typer.Argument(metavar="B.json")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE")] = Path("bench.html"),
) -> None:
    """Make one HTML page of what --json wrote: plots, and with B a table of differences."""
    from bench.report import page

    out.write_text(page(result.load(first), None if second is None else result.load(second)))
    typer.echo(out)


for _name in (*SCENARIOS, *_HELP):
    app.command(_name)(_command(_name))


def main(arguments: list[str] | None = None, name: str = "bench") -> None:
    """Run the command line, with the process' own arguments unless some are given; never returns.

    `name` is what the help calls the command.
    """
    try:
        app(arguments, prog_name=name)
    except BenchError as error:
        typer.echo(f"bench: {error}", err=True)
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
