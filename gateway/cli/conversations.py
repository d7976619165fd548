"""`homeport conversations`: a user's conversations, with the last message of each."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer
from homeport import Client, ConversationInfo

from gateway.cli.environment import Json
from gateway.cli.messages import line, moment, record
from gateway.cli.output import show
from gateway.cli.target import Target, as_user, ask

TIMEOUT_S: Final = 30.0


@as_user
def conversations(
    target: Target,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The first N of them.")] = 50,
    as_json: Json = False,
) -> None:
    """Print your conversations, the one with the newest message first.

    With each, how many messages are unread, and the last one. With --json, one object a line.
    """

    async def rows(client: Client) -> list[ConversationInfo]:
        return [each async for each in client.conversations(limit=limit, timeout=None)]

    for one in asyncio.run(ask(target, rows, TIMEOUT_S, "no whole answer")):
        if as_json:
            show(_record(one), as_json)
        else:
            last = f"{moment(one.time)} #{one.seq}" if one.message is None else line(one.message)
            typer.echo(f"{one.peer} {one.unread} unread, last: {last}")


def _record(one: ConversationInfo) -> dict[str, object]:
    return {
        "with": one.peer,
        "seq": one.seq,
        "time": one.time,
        "unread": one.unread,
        "read": one.read,
        "until": one.until,
        "message": None if one.message is None else record(one.message),
    }
