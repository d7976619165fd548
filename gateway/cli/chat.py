"""`homeport send` and `homeport listen`: two small chat clients."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer
from homeport import ConversationReset, Disconnected, Event, Lost, Reset

from gateway.cli.environment import Json, recipient
from gateway.cli.messages import line, record
from gateway.cli.output import show
from gateway.cli.target import Target, as_user, ask, note, printed

SEND_TIMEOUT_S: Final = 15.0


@as_user
def send(
    target: Target,
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    to: Annotated[
        str, typer.Option(metavar="TO", help="A user, or g: and a group's id.", callback=recipient)
    ],
    as_json: Json = False,
) -> None:
    """Send one message. Ends when the gateway has confirmed that the message is kept.

    Prints the message's number in the conversation, by which it can be recalled.
    """
    sent = asyncio.run(
        ask(
            target,
            lambda client: client.send(to, text, timeout=None),
            SEND_TIMEOUT_S,
            "not known to be sent",
        )
    )
    if as_json:
        show({"seq": sent.seq, "id": sent.id, "time": sent.time}, as_json)
    else:
        typer.echo(f"ok {sent.seq}")


@as_user
def listen(
    target: Target,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after N messages.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print messages as they come.

    Without --device it shows all that waits for the user, each time anew, and changes nothing. With
    it, it begins where this device had got to, and a message counts as received once it is printed.
    Ctrl-C ends it. With --json, one object a line; a loss is one too, with `lost` set to the first
    and the last number of the inbox, and so is a conversation that began anew after number `reset`.
    """
    try:
        asyncio.run(_listen(target, count, as_json))
    except KeyboardInterrupt:
        if count is not None:
            raise


async def _listen(target: Target, count: int | None, as_json: bool) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, Lost):
            if as_json:
                show({"lost": [event.first, event.last]}, as_json)
            note(f"lost: {event.count} of the messages that waited are no longer kept")
        elif isinstance(event, Reset):
            note("the inbox's numbering began again")
        elif isinstance(event, ConversationReset):
            if as_json:
                show({"reset": event.seq, "with": event.peer}, as_json)
            note(f"with {event.peer}, all after #{event.seq} began anew; `homeport history` has it")
        elif isinstance(event, Disconnected) and event.retry_in is not None:
            note(f"not connected: {event.reason}; next try in {event.retry_in:.1f} s")

    with printed(on_event) as handler:
        async with target.client(handler) as client:
            left = count
            async for message in client.messages():
                if as_json:
                    show(record(message), as_json)
                else:
                    typer.echo(line(message))
                client.ack(message)
                if left is not None:
                    left -= 1
                    if left == 0:
                        return
