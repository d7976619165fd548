"""`homeport unread`: how much is unread, and in which conversations."""

from __future__ import annotations

import asyncio
from typing import Final

import typer

from gateway.cli.environment import Json
from gateway.cli.output import show
from gateway.cli.target import Target, as_user, ask, note

TIMEOUT_S: Final = 30.0


@as_user
def unread(target: Target, as_json: Json = False) -> None:
    """Print how many messages of each conversation are unread.

    Only a client that says so makes them read; `homeport listen` does not. At most 200
    conversations, those that became unread last. With --json, one object a line.
    """
    found = asyncio.run(ask(target, lambda c: c.unread(timeout=None), TIMEOUT_S, "no whole answer"))
    for peer, count in found.items():
        if as_json:
            show({"with": peer, "unread": count}, as_json)
        else:
            typer.echo(f"{peer} {count}")
    if found.more:
        note("there are more conversations with unread messages")
