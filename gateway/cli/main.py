"""The `homeport` command."""

from __future__ import annotations

import typer

from gateway.cli import (
    apps,
    bench,
    changes,
    chat,
    config_cmd,
    dev,
    doctor,
    groups,
    history,
    keys,
    presence,
    rooms,
    serve,
    tokens,
    unread,
)
from gateway.cli.errors import EPILOG, Boundary

app = typer.Typer(
    cls=Boundary,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help is text, and brackets in it are brackets
    help="A self-hosted realtime messaging gateway. `homeport dev` is where to start.",
)
app.command()(dev.dev)
app.command()(serve.serve)
app.command()(chat.send)
app.command()(chat.listen)
app.command()(history.history)
app.command()(unread.unread)
app.command()(changes.recall)
app.command()(changes.edit)
app.add_typer(groups.app, name="group")
app.add_typer(rooms.app, name="room")
app.command()(presence.presence)
app.add_typer(apps.app, name="app")
app.add_typer(tokens.app, name="token")
app.command()(tokens.kick)
app.add_typer(keys.app, name="keys")
app.add_typer(config_cmd.app, name="config")
app.command()(doctor.doctor)
app.command(context_settings=bench.OPTIONS)(bench.bench)


def main() -> None:
    """Run the command line; never returns."""
    app(prog_name="homeport")
