"""`homeport config`: what a gateway would run with."""

from __future__ import annotations

import re

import typer

from gateway.cli.environment import Config, Json
from gateway.cli.errors import EPILOG
from gateway.cli.output import show
from gateway.config import load_settings

app = typer.Typer(no_args_is_help=True, epilog=EPILOG, help="Show and check a configuration.")


@app.command("show")
def show_(config: Config = None, as_json: Json = False) -> None:
    """Show the settings in force: the file, over it HOMEPORT_* variables. Passwords are hidden."""
    settings = load_settings(config, {}).model_dump(mode="json")
    settings["redis_url"] = without_password(settings["redis_url"])
    show(settings, as_json)


@app.command()
def check(config: Config = None) -> None:
    """Say everything that is wrong with a configuration, and what to do about it."""
    load_settings(config, {})
    typer.echo("ok")


def without_password(url: str) -> str:
    """`url` with ``***`` for its password, be it before the host or in the query.

    Rather too much is hidden than too little: a password may hold an unquoted ``/`` or ``@``.
    """
    url = re.sub(r"(?<=://)([^:/@?]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*password=)[^&]*", r"\1***", url)
