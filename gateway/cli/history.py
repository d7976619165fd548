"""`homeport history`: the messages of a conversation with a user or in a group."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer
from homeport import Client, Message

from gateway.cli.environment import Json, recipient
from gateway.cli.messages import line, record
from gateway.cli.output import show
from gateway.cli.target import Target, as_user, ask

TIMEOUT_S: Final = 30.0


@as_user
def history(
    target: Target,
    peer: Annotated[
        str,
        typer.Option(
            "--with", metavar="PEER", help="A user, or g: and a group's id.", callback=recipient
        ),
    ],
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The last N messages.")] = 50,
    as_json: Json = False,
) -> None:
    """Print the last messages of a conversation, the oldest first.

    With --json, one object a line.
    """

    async def messages(client: Client) -> list[Message]:
        return [each async for each in client.conversation(peer).history(limit=limit, timeout=None)]

    found = asyncio.run(ask(target, messages, TIMEOUT_S, "no whole answer"))
    for message in reversed(found):
        if as_json:
            show(record(message), as_json)
        else:
            typer.echo(line(message))
