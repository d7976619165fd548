"""`homeport presence`: which users are online."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer
from homeport import Disconnected, Event, Presence
from homeport.limits import MAX_SUBSCRIPTION_S, MAX_SUBSCRIPTIONS

from gateway.cli.environment import Json, user_id
from gateway.cli.errors import CommandError, ExitCode
from gateway.cli.messages import moment, visible
from gateway.cli.output import show
from gateway.cli.target import Target, as_user, note, printed

TIMEOUT_S: Final = 30.0


def _users(users: list[str]) -> list[str]:
    for user in users:
        user_id(user)
    if len(set(users)) > MAX_SUBSCRIPTIONS:
        raise typer.BadParameter(f"{MAX_SUBSCRIPTIONS} users at most")
    return users


@as_user
def presence(
    target: Target,
    users: Annotated[list[str], typer.Argument(metavar="USER...", callback=_users)],
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, and print each change; Ctrl-C ends it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print whether users are online, away or offline.

    You seem to be no more online for it. With --json, one object a line.
    """
    try:
        asyncio.run(_presence(target, users, watch, as_json))
    except KeyboardInterrupt:
        if not watch:
            raise


async def _presence(target: Target, users: list[str], watch: bool, as_json: bool) -> None:
    trouble = "no answer"

    def on_event(event: Event) -> None:
        nonlocal trouble
        if isinstance(event, Presence):
            _print(event, as_json)
        elif isinstance(event, Disconnected):
            trouble = event.reason
            if watch and event.retry_in is not None:
                note(f"not connected: {event.reason}; next try in {event.retry_in:.1f} s")

    try:
        with printed(on_event) as handler:
            async with asyncio.timeout(TIMEOUT_S) as first, target.client(handler) as client:
                if watch:
                    found = await client.watch_presence(
                        users, expires=MAX_SUBSCRIPTION_S, timeout=None
                    )
                else:
                    found = await client.presence(users, timeout=None)
                for state in found.values():
                    _print(state, as_json)
                first.reschedule(None)
                while watch:
                    await asyncio.sleep(MAX_SUBSCRIPTION_S / 2)
                    await client.watch_presence(users, expires=MAX_SUBSCRIPTION_S)
    except TimeoutError:
        raise CommandError(
            f"no whole answer after {TIMEOUT_S:.0f} s: {trouble}", ExitCode.UNAVAILABLE
        ) from None


def _print(state: Presence, as_json: bool) -> None:
    if as_json:
        show(record(state), as_json)
    else:
        typer.echo(line(state))


def line(state: Presence) -> str:
    """A user's presence for people."""
    since = f" since {moment(state.since)}" if state.since else ""
    status = f": {state.status}" if state.status else ""
    return visible(f"{state.user} {state.state}{since}{status}")


def record(state: Presence) -> dict[str, object]:
    """A user's presence for scripts."""
    return {"user": state.user, "state": state.state, "status": state.status, "since": state.since}
