"""The `homeport` command.

A command's module is imported once it is called for: a gateway that starts, or a token that is
printed, needs neither the SDK nor what `homeport dev` and `homeport doctor` need.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.main import get_group

from gateway import __version__
from gateway.cli.errors import EPILOG, Boundary

COMMANDS: Final = {
    "dev": "dev:dev",
    "serve": "serve:serve",
    "drain": "drain:drain",
    "send": "chat:send",
    "listen": "chat:listen",
    "history": "history:history",
    "conversations": "conversations:conversations",
    "unread": "unread:unread",
    "recall": "changes:recall",
    "edit": "changes:edit",
    "group": "groups:app",
    "room": "rooms:app",
    "presence": "presence:presence",
    "region": "region:app",
    "audit": "region:audit",
    "app": "apps:app",
    "webhook": "webhooks:app",
    "token": "tokens:app",
    "kick": "tokens:kick",
    "user": "users:app",
    "keys": "keys:app",
    "key": "api_keys:app",
    "config": "config_cmd:app",
    "doctor": "doctor:doctor",
    "capacity": "capacity:capacity",
    "bench": "bench:bench",
}
"""Where each is, in the order of the help: a module of `gateway.cli`, and in it the function or the
`Typer` of a group."""


class Commands(Mapping[str, Any]):
    """The commands by name, each imported as it is asked for."""

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __getitem__(self, command: str) -> Any:
        where, _, name = COMMANDS[command].partition(":")
        module = import_module(f"gateway.cli.{where}")
        found = getattr(module, name)
        alone = typer.Typer(rich_markup_mode=None)
        if isinstance(found, typer.Typer):
            alone.add_typer(found, name=command)
        else:
            alone.command(command, context_settings=getattr(module, "SETTINGS", None))(found)
        return get_group(alone).commands[command]


class Homeport(Boundary):
    """The top command, with the commands of `COMMANDS`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"commands": Commands()})


app = typer.Typer(
    cls=Homeport,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help is text, and brackets in it are brackets
    help="A self-hosted realtime messaging gateway. `homeport dev` is where to start.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _homeport(
    _: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; never returns."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # it may be closed
            stream.reconfigure(errors="backslashreplace")  # a terminal may not have all letters
    app(prog_name="homeport")
