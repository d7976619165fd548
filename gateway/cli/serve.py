"""`homeport serve`: one gateway, in the foreground."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import typer

from gateway.cli.place import Config
from gateway.config import Source

if TYPE_CHECKING:
    from gateway.runtime.worker import Listening


def serve(config: Config = None) -> None:
    """Run a gateway until SIGTERM or SIGINT, which drain it. SIGHUP has it read its files again.

    Prints where it listens, and `ready` when it accepts. Logs go to stderr.
    """
    # Here, because it takes most of a second, which the other commands need not wait for. Nothing
    # of it is garbage, and to look through it again and again is a sixth of that time.
    gc.disable()
    import uvloop

    from gateway.runtime import logs, worker

    gc.enable()
    source = Source(config, {})
    settings = source.read()
    logs.configure(settings.log_level, settings.log_format)

    def on_ready(listening: Listening) -> None:
        for scheme, address in (("wss", listening.wss), ("ws", listening.plain)):
            if address is not None:
                typer.echo(f"{scheme}://{address}")
        typer.echo("ready")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(worker.serve(settings, on_ready=on_ready, source=source))
