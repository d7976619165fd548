"""`homeport history`: the messages of a conversation with a user or in a group."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer

from gateway.cli import chat
from gateway.cli.chat import As, CaCert, Device, Target, Token, Url
from gateway.cli.messages import line, record
from gateway.cli.output import show
from gateway.cli.place import Data, Json, recipient
from protocol.client import Client, Message

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
    device: Device = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print the last messages of a conversation, the oldest first.

    With --json, one object a line.
    """

    async def messages(client: Client) -> list[Message]:
        return [each async for each in client.history(peer, limit=limit, timeout=None)]

    target = Target.find(user, url, token, cacert, data)
    found = asyncio.run(chat.ask(target, device, messages, TIMEOUT_S, "no whole answer"))
    for message in reversed(found):
        if as_json:
            show(record(message), as_json)
        else:
            typer.echo(line(message))
