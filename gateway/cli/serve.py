"""`homeport serve`: one gateway of several processes, in the foreground."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from gateway import __version__
from gateway.cli.environment import Config
from gateway.config import Source

if TYPE_CHECKING:
    from gateway.runtime.starting import Listening


def serve(
    config: Config = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Processes; default: one per usable core."),
    ] = None,
) -> None:
    """Run a gateway until SIGTERM or SIGINT, which drain it; a second one hurries.

    SIGHUP has it read its files again; it looks at them every two seconds, too.

    Prints where it listens, and `ready` when all its workers accept. Logs go to stderr.
    """
    source = Source(config, {"workers": workers})
    settings = source.first
    # Here, because it takes most of a second, which the other commands need not wait for. Nothing
    # of it is garbage, and to look through it again and again is a sixth of that time.
    gc.disable()
    from gateway.runtime import logs, supervisor
    from gateway.runtime.dumps import forbid_dumps
    from gateway.runtime.runfolder import run_folder

    gc.enable()
    forbid_dumps()
    logs.configure(settings.log_level, settings.log_format)
    structlog.get_logger().info("starting", version=__version__)

    def on_ready(listening: Listening) -> None:
        api = "https" if settings.api_tls else "http"
        for scheme, addresses in (
            ("wss", listening.all_wss),
            ("ws", listening.all_plain),
            (api, listening.all_api),
        ):
            for address in addresses:
                typer.echo(f"{scheme}://{address}")
        typer.echo("ready")

    with run_folder() as folder:
        supervisor.supervise(settings, folder, on_ready, source)
