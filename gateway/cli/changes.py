"""`homeport recall` and `homeport edit`: take a message back, or give it another text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import typer
from homeport import Client, MessageRef

from gateway.cli.environment import Json, recipient
from gateway.cli.output import show
from gateway.cli.target import Target, as_user, ask

TIMEOUT_S: Final = 30.0

Number = Annotated[
    int,
    typer.Argument(
        metavar="N",
        min=1,
        help="The message's number, as `homeport send` and `homeport history` show it.",
    ),
]
Peer = Annotated[
    str,
    typer.Option(
        "--with", metavar="PEER", help="A user, or g: and a group's id.", callback=recipient
    ),
]


@as_user
def recall(target: Target, number: Number, peer: Peer, as_json: Json = False) -> None:
    """Take a message back from everyone.

    For two minutes, or as long as the app says.
    """
    message = MessageRef(peer, number)
    _change(target, message, as_json, lambda client: client.recall(message, timeout=None))


@as_user
def edit(
    target: Target,
    number: Number,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    peer: Peer,
    as_json: Json = False,
) -> None:
    """Give a message of yours another text, for as long as it can be recalled."""
    message = MessageRef(peer, number)
    _change(target, message, as_json, lambda client: client.edit(message, text, timeout=None))


def _change(
    target: Target,
    message: MessageRef,
    as_json: bool,
    change: Callable[[Client], Awaitable[None]],
) -> None:
    asyncio.run(ask(target, change, TIMEOUT_S, "not known to be done"))
    if as_json:
        show({"seq": message.seq}, as_json)
    else:
        typer.echo(f"ok {message.seq}")
