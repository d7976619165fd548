"""`homeport send` and `homeport listen`: two small chat clients."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self, TypeVar

import typer

from gateway.cli.errors import CommandError, ExitCode
from gateway.cli.messages import line, record
from gateway.cli.output import show
from gateway.cli.place import Data, Json, recipient, user_id
from gateway.dev import datafolder
from gateway.security import tokens
from protocol.client import (
    Client,
    Disconnected,
    Event,
    Lost,
    RequestRefused,
    Reset,
)
from protocol.codes import ERRORS, Retry

SEND_TIMEOUT_S: Final = 15.0

_T = TypeVar("_T")

As = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="USER", callback=user_id, help="Who you are; in a dev folder only."
    ),
]
Url = Annotated[
    str | None, typer.Option(metavar="URL", help="The gateway, like wss://host:8443/v1.")
]
Token = Annotated[str | None, typer.Option(metavar="TOKEN", help="Who you are, elsewhere.")]
CaCert = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", exists=True, dir_okay=False, help="A CA to trust instead of the system's."
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE",
        callback=user_id,
        help="Be this device, which stays the user's; else none is left behind.",
    ),
]
EPHEMERAL: Final = "cli"
"""What an operator sees in the place of a device."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and as whom."""

    url: str
    token: str | None
    get_token: Callable[[], Awaitable[str]] | None
    cacert: Path | None

    @classmethod
    def find(
        cls,
        user: str | None,
        url: str | None,
        token: str | None,
        cacert: Path | None,
        data: Path | None,
    ) -> Self:
        """What the options say, else the dev folder's gateway.

        Raises:
            typer.BadParameter: the options don't go together.
            DevFolderError: there is no dev folder.
        """
        if url is not None or token is not None:
            if url is None or token is None or user is not None:
                raise typer.BadParameter("give --url and --token, or --as in a dev folder")
            return cls(url, token, None, cacert)
        if user is None:
            raise typer.BadParameter("say who you are", param_hint="--as")
        folder = (data or datafolder.DEFAULT).resolve()
        state = datafolder.load(folder)

        async def mint() -> str:
            return tokens.mint(
                state.app_id, state.certificate, datafolder.REGION, user, time.time()
            )

        return cls(state.wss_url, None, mint, cacert or datafolder.ca_file(folder))

    def client(self, device: str | None, on_event: Callable[[Event], None]) -> Client:
        """A client of this place; what it reads is acknowledged by its caller.

        Without a `device` it is an ephemeral one, of which nothing stays. What it would log is left
        to the command, which tells it in its own words.

        Raises:
            typer.BadParameter: the URL or the CA file makes no sense.
        """
        logging.getLogger("homeport.client").addHandler(logging.NullHandler())
        try:
            return Client(
                self.url,
                device=device or EPHEMERAL,
                ephemeral=device is None,
                token=self.token,
                get_token=self.get_token,
                cacert=self.cacert,
                auto_ack=False,
                on_event=on_event,
            )
        except ssl.SSLError:
            raise typer.BadParameter(
                f"{self.cacert} is not a PEM file", param_hint="--cacert"
            ) from None
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None


def send(
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    to: Annotated[
        str, typer.Option(metavar="TO", help="A user, or g: and a group's id.", callback=recipient)
    ],
    user: As = None,
    url: Url = None,
    token: Token = None,
    cacert: CaCert = None,
    device: Device = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Send one message. Ends when the gateway has confirmed that the message is kept."""
    sent = asyncio.run(
        ask(
            Target.find(user, url, token, cacert, data),
            device,
            lambda client: client.send(to, text, timeout=None),
            SEND_TIMEOUT_S,
            "not known to be sent",
        )
    )
    if as_json:
        show({"id": sent.id.hex(), "time": sent.time}, as_json)
    else:
        typer.echo(f"ok {sent.id.hex()}")


async def ask(
    target: Target,
    device: str | None,
    question: Callable[[Client], Awaitable[_T]],
    within_s: float,
    otherwise: str,
) -> _T:
    """Connect, ask, and leave; returns what `question` does.

    Nothing that comes to this device is acknowledged: it is not shown to anybody, and the inbox
    keeps it for the first device that reads.

    Raises:
        CommandError: refused; or not answered in time, which is what `otherwise` says.
        ClientError: the gateway does not let this client in.
    """
    trouble = "no answer"

    def on_event(event: Event) -> None:
        nonlocal trouble
        if isinstance(event, Disconnected):
            trouble = event.reason

    try:
        async with asyncio.timeout(within_s), target.client(device, on_event) as client:
            return await question(client)
    except TimeoutError:
        raise CommandError(
            f"{otherwise} after {within_s:.0f} s: {trouble}", ExitCode.UNAVAILABLE
        ) from None
    except RequestRefused as refused:
        known = ERRORS.get(refused.code)
        later = known is not None and known.retry is Retry.LATER
        code = ExitCode.UNAVAILABLE if later else ExitCode.REFUSED
        raise CommandError(str(refused), code) from None


def listen(
    user: As = None,
    url: Url = None,
    token: Token = None,
    cacert: CaCert = None,
    device: Device = None,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End after N messages.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Print messages as they come.

    Without --device it shows all that waits for the user, each time anew, and changes nothing. With
    it, it begins where this device had got to, and a message counts as received once it is printed.
    Ctrl-C ends it. With --json, one object a line; a loss is one too, with `lost` set to the first
    and the last number.
    """
    target = Target.find(user, url, token, cacert, data)
    try:
        asyncio.run(_listen(target, device, count, as_json))
    except KeyboardInterrupt:
        if count is not None:
            raise


async def _listen(target: Target, device: str | None, count: int | None, as_json: bool) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, Lost):
            if as_json:
                show({"lost": [event.first, event.last]}, as_json)
            note(f"lost: messages {event.first} to {event.last} are no longer kept")
        elif isinstance(event, Reset):
            note("the inbox was made anew; its numbers begin again")
        elif isinstance(event, Disconnected) and event.retry_in is not None:
            note(f"not connected: {event.reason}; next try in {event.retry_in:.1f} s")

    with printed(on_event) as handler:
        async with target.client(device, handler) as client:
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


@contextmanager
def printed(print_event: Callable[[Event], None]) -> Iterator[Callable[[Event], None]]:
    """What to give a client as ``on_event`` where that prints.

    Raises:
        OSError: it could not print, because the reader has had enough (`| head`) or a disk is
            full. A client survives its handler; the command ends.
    """
    task, failed = asyncio.current_task(), []
    assert task is not None, "only coroutines have a client"

    def on_event(event: Event) -> None:
        try:
            print_event(event)
        except OSError as error:
            failed.append(error)
            task.cancel()

    try:
        yield on_event
    except asyncio.CancelledError:
        if failed:
            raise failed[0] from None
        raise


def note(text: str) -> None:
    """Say something beside the output, on stderr."""
    typer.echo(f"homeport: {text}", err=True)
