"""Where a command that is a chat client connects, and as whom; and what such commands share."""

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
from homeport import Client, Disconnected, Event

from gateway.cli.environment import Data, user_id
from gateway.cli.errors import CommandError, ExitCode
from gateway.cli.options import taking
from gateway.dev import datafolder
from gateway.security import tokens

EPHEMERAL: Final = "cli"
"""What an operator sees in the place of a device."""

_T = TypeVar("_T")

_As = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="USER", callback=user_id, help="The user to act as; only with a dev folder."
    ),
]
_Url = Annotated[
    str | None, typer.Option(metavar="URL", help="The gateway, like wss://host:8443/v1.")
]
_Token = Annotated[
    str | None,
    typer.Option(metavar="TOKEN", help="The token of the user to act as, without a dev folder."),
]
_CaCert = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", exists=True, dir_okay=False, help="A CA to trust instead of the system's."
    ),
]
_Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE",
        callback=user_id,
        help="Be this device, which stays the user's; else none is left behind.",
    ),
]


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and as whom. Without a `device` nothing stays of the session."""

    url: str
    token: str | None
    get_token: Callable[[], Awaitable[str]] | None
    cacert: Path | None
    device: str | None

    @classmethod
    def find(
        cls,
        *,
        user: _As = None,
        url: _Url = None,
        token: _Token = None,
        cacert: _CaCert = None,
        device: _Device = None,
        data: Data = None,
    ) -> Self:
        """What the options say, else the dev folder's gateway.

        Raises:
            typer.BadParameter: the options don't go together.
            DevFolderError: there is no dev folder.
        """
        if url is not None or token is not None:
            if url is None or token is None or user is not None:
                raise typer.BadParameter("give --url and --token, or --as in a dev folder")
            if cacert is not None and url.lower().startswith("ws:"):
                raise typer.BadParameter("it is for wss:// URLs", param_hint="--cacert")
            return cls(url, token, None, cacert, device)
        if user is None:
            raise typer.BadParameter("say who you are", param_hint="--as")
        folder = (data or datafolder.DEFAULT).resolve()
        state = datafolder.load(folder)

        async def mint() -> str:
            return tokens.mint(
                state.app_id, state.certificate, datafolder.REGION, user, time.time()
            )

        return cls(state.wss_url, None, mint, cacert or datafolder.ca_file(folder), device)

    def client(self, on_event: Callable[[Event], None]) -> Client:
        """A client of this target; what it reads is acknowledged by its caller.

        What it would log is left to the command, which tells it in its own words.

        Raises:
            typer.BadParameter: the URL or the CA file makes no sense.
        """
        logging.getLogger("homeport.client").addHandler(logging.NullHandler())
        try:
            tls = None if self.cacert is None else ssl.create_default_context(cafile=self.cacert)
            return Client(
                self.url,
                device=self.device or EPHEMERAL,
                ephemeral=self.device is None,
                token=self.token,
                get_token=self.get_token,
                ssl=tls,
                auto_ack=False,
                on_event=on_event,
            )
        except ssl.SSLError:
            raise typer.BadParameter(
                f"{self.cacert} is not a PEM file", param_hint="--cacert"
            ) from None
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None


as_user: Final = taking("target", Target.find)
"""Of a command that is given by a user."""


async def ask(
    target: Target,
    question: Callable[[Client], Awaitable[_T]],
    within_s: float,
    otherwise: str,
) -> _T:
    """Connect, ask, and leave; returns what `question` does.

    Nothing that comes to this device is acknowledged: it is not shown to anybody, and the inbox
    keeps it for the first device that reads.

    Raises:
        CommandError: not answered in time, which is what `otherwise` says.
        ClientError: refused, or the gateway does not let this client in.
    """
    trouble = "no answer"

    def on_event(event: Event) -> None:
        nonlocal trouble
        if isinstance(event, Disconnected):
            trouble = event.reason

    try:
        async with asyncio.timeout(within_s), target.client(on_event) as client:
            return await question(client)
    except TimeoutError:
        raise CommandError(
            f"{otherwise} after {within_s:.0f} s: {trouble}", ExitCode.UNAVAILABLE
        ) from None


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
