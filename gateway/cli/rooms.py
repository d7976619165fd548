"""`homeport room`: listen to a live room, send to it, count its members, set who writes there."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final, Literal

import typer
from homeport import Client, Disconnected, Event, RoomGap, Sent
from homeport.client.rooms import PriorityName
from homeport.limits import MAX_LAST, MAX_ROOM_ADMINS

from gateway.cli.environment import AppOption, Environment, Json, in_environment, user_id
from gateway.cli.errors import EPILOG
from gateway.cli.messages import line, record
from gateway.cli.output import show
from gateway.cli.target import Target, as_user, ask, note, printed

TIMEOUT_S: Final = 15.0

app = typer.Typer(
    no_args_is_help=True, epilog=EPILOG, help="Live rooms: listen, send, count members, set."
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


def _admins(values: list[str] | None) -> list[str] | None:
    for value in values or []:
        user_id(value)
    if len(values or []) > MAX_ROOM_ADMINS:
        raise typer.BadParameter(f"a room has at most {MAX_ROOM_ADMINS} admins")
    return values


@app.command("set")
@in_environment
def set_(
    environment: Environment,
    room: RoomArgument,
    write: Annotated[
        Literal["everyone", "admins"],
        typer.Option(metavar="everyone|admins", help="Who may write there."),
    ] = "everyone",
    admin: Annotated[
        list[str] | None,
        typer.Option(metavar="USER", callback=_admins, help="An admin; more than one if repeated."),
    ] = None,
    claim: Annotated[
        bool,
        typer.Option("--claim", help="Take the room over: no user may set it from now on."),
    ] = False,
    app_id: AppOption = None,
) -> None:
    """Set who may write in a room, as the app itself. Needs the region's Redis, as `app` does.

    A room that nobody created is the app's from then on. One that a user created stays the user's,
    who may set it again, unless you take it over.
    """
    target = environment.app_id(app_id)
    environment.check_home(target)

    async def run() -> None:
        async with environment.admin() as found:
            await found.access.set_room(target, room, write, admin or [], claim=claim)

    asyncio.run(run())
    typer.echo("ok")


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
