"""`homeport room`: listen to a live room, send to it, count its members."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer
from homeport import Client, Disconnected, Event, RoomGap, Sent
from homeport.client.rooms import PriorityName
from homeport.limits import MAX_LAST

from gateway.cli.environment import Json, user_id
from gateway.cli.errors import EPILOG
from gateway.cli.messages import line, record
from gateway.cli.output import show
from gateway.cli.target import Target, as_user, ask, note, printed

TIMEOUT_S: Final = 15.0

app = typer.Typer(
    no_args_is_help=True, epilog=EPILOG, help="Live rooms: listen, send, count members."
)

RoomArgument = Annotated[
    str, typer.Argument(metavar="ROOM", callback=user_id, help="Made when first joined.")
]


@app.command()
@as_user
def join(
    target: Target,
    room: RoomArgument,
    last: Annotated[
        int, typer.Option(min=0, max=MAX_LAST, metavar="N", help="Begin with the last N messages.")
    ] = 10,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after N messages.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Join a room and print its messages as they come; Ctrl-C leaves.

    A room keeps its last 200 messages and no queues: missed messages are gone, and the output says
    so. With --json, each line is one object. A hole is one too, with `missed` set to the number of
    messages, or to null if nobody knows it.
    """
    try:
        asyncio.run(_join(target, room, last, count, as_json))
    except KeyboardInterrupt:
        if count is not None:
            raise


async def _join(target: Target, room_id: str, last: int, count: int | None, as_json: bool) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, RoomGap):
            if as_json:
                show({"missed": event.missed}, as_json)
            many = "an unknown number of" if event.missed is None else event.missed
            note(f"missed: {many} messages of the room are gone")
        elif isinstance(event, Disconnected) and event.retry_in is not None:
            note(f"not connected: {event.reason}; next try in {event.retry_in:.1f} s")

    with printed(on_event) as handler:
        async with target.client(handler) as client, client.room(room_id, last=last) as room:
            left = count
            async for message in room:
                if as_json:
                    show(record(message), as_json)
                else:
                    typer.echo(line(message))
                if left is not None:
                    left -= 1
                    if left == 0:
                        return


@app.command()
@as_user
def send(
    target: Target,
    room: RoomArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    priority: Annotated[
        PriorityName,
        typer.Option(
            metavar="low|normal|high", help="Slow clients miss low ones first, high ones last."
        ),
    ] = "normal",
    as_json: Json = False,
) -> None:
    """Send one message to a room, which you are in for that long. Done when it is published."""

    async def say(client: Client) -> Sent:
        async with client.room(room, last=0) as joined:
            return await joined.send(text, priority=priority, timeout=None)

    sent = asyncio.run(ask(target, say, TIMEOUT_S, "not known to be sent"))
    if as_json:
        show({"id": sent.id, "time": sent.time}, as_json)
    else:
        typer.echo(f"ok {sent.id}")


@app.command()
@as_user
def members(target: Target, room: RoomArgument, as_json: Json = False) -> None:
    """Print how many users are in a room. You are counted too: the command joins it meanwhile."""

    async def count(client: Client) -> int:
        async with client.room(room, last=0) as joined:
            return joined.size

    found = asyncio.run(ask(target, count, TIMEOUT_S, "not known to be in the room"))
    if as_json:
        show({"room": room, "members": found}, as_json)
    else:
        typer.echo(found)
