"""`homeport unread`: how much is unread, and in which conversations."""

from __future__ import annotations

import asyncio
from typing import Final

import typer

from gateway.cli import chat
from gateway.cli.chat import As, CaCert, Device, Target, Token, Url
from gateway.cli.output import show
from gateway.cli.place import Data, Json

TIMEOUT_S: Final = 30.0


def unread(
    user: As = None,
    url: Url = None,
    token: Token = None,
    cacert: CaCert = None,
    device: Device = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print how many messages of each conversation are unread.

    Only a client that says so makes them read; `homeport listen` does not. 1000 is 1000 or more.
    At most 200 conversations, those that became unread last. With --json, one object a line.
    """
    target = Target.find(user, url, token, cacert, data)
    found = asyncio.run(
        chat.ask(target, device, lambda c: c.unread(timeout=None), TIMEOUT_S, "no whole answer")
    )
    for peer, count in found.items():
        if as_json:
            show({"with": peer, "unread": count}, as_json)
        else:
            typer.echo(f"{peer} {count}")
    if found.more:
        chat.note("there are more conversations with unread messages")
