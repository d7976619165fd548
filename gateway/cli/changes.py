"""`homeport recall` and `homeport edit`: take a message back, or give it another text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import typer
from homeport import Client, Message
from homeport.ids import is_hex_id

from gateway.apps.settings import MAX_RECALL_S
from gateway.cli.environment import Json, recipient
from gateway.cli.errors import CommandError
from gateway.cli.output import show
from gateway.cli.target import Target, as_user, ask

TIMEOUT_S: Final = 30.0


def _message_id(value: str) -> str:
    if not is_hex_id(value):
        raise typer.BadParameter("a message id is 32 lower-case hex digits")
    return value


Id = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        callback=_message_id,
        help="As `homeport send` and `homeport history --json` show it.",
    ),
]
Peer = Annotated[
    str,
    typer.Option(
        "--with", metavar="PEER", help="A user, or g: and a group's id.", callback=recipient
    ),
]


@as_user
def recall(target: Target, message_id: Id, peer: Peer, as_json: Json = False) -> None:
    """Take a message back from everyone.

    For two minutes, or as long as the app says. It is looked for in the conversation's history.
    """
    _change(target, peer, message_id, as_json, lambda c, found: c.recall(found, timeout=None))


@as_user
def edit(
    target: Target,
    message_id: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    peer: Peer,
    as_json: Json = False,
) -> None:
    """Give a message of yours another text, for as long as it can be recalled."""
    _change(target, peer, message_id, as_json, lambda c, found: c.edit(found, text, timeout=None))


def _change(
    target: Target,
    peer: str,
    message_id: str,
    as_json: bool,
    change: Callable[[Client, Message], Awaitable[None]],
) -> None:
    """Find the message, of which a change must name the time too, and change it.

    Raises:
        CommandError: no such message, or refused.
    """

    async def find_and_change(client: Client) -> None:
        newest_ms = 0
        async for message in client.conversation(peer).history(timeout=None):
            if message.id == message_id:
                return await change(client, message)
            newest_ms = max(newest_ms, message.stored)
            if message.stored < newest_ms - MAX_RECALL_S * 1000:  # those can't be changed anyway
                break
        raise CommandError(f"no message {message_id} in the conversation with {peer}")

    asyncio.run(ask(target, find_and_change, TIMEOUT_S, "not known to be done"))
    if as_json:
        show({"id": message_id}, as_json)
    else:
        typer.echo(f"ok {message_id}")
