"""`homeport history`: what was said in a conversation, with a user or in a group."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer

from gateway.cli import chat
from gateway.cli.chat import As, CaCert, Device, Target, Token, Url
from gateway.cli.errors import CommandError, ExitCode
from gateway.cli.output import show
from gateway.cli.place import Data, Json, recipient
from protocol.client import Disconnected, Event

TIMEOUT_S: Final = 30.0


def history(
    peer: Annotated[
        str,
        typer.Option(
            "--with", metavar="PEER", help="A user, or g: and a group's id.", callback=recipient
        ),
    ],
    user: As = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The last N messages.")] = 50,
    url: Url = None,
    token: Token = None,
    cacert: CaCert = None,
    device: Device = "cli-history",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print the last messages of a conversation, the oldest first.

    With --json, one object a line.
    """
    asyncio.run(_history(Target.find(user, url, token, cacert, data), device, peer, limit, as_json))


async def _history(target: Target, device: str, peer: str, limit: int, as_json: bool) -> None:
    trouble = "no answer"

    def on_event(event: Event) -> None:
        nonlocal trouble
        if isinstance(event, Disconnected):
            trouble = event.reason

    try:
        async with asyncio.timeout(TIMEOUT_S), target.client(device, on_event) as client:
            messages = [each async for each in client.history(peer, limit=limit, timeout=None)]
    except TimeoutError:
        raise CommandError(
            f"no whole answer after {TIMEOUT_S:.0f} s: {trouble}", ExitCode.UNAVAILABLE
        ) from None
    for message in reversed(messages):
        if as_json:
            show(chat.record(message), as_json)
        else:
            typer.echo(chat.line(message))
