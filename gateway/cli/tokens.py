"""`homeport token` and `homeport kick`: who gets in, and who goes."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from typing import Annotated

import typer

from gateway.apps.app import App
from gateway.cli.errors import EPILOG
from gateway.cli.output import show, utc
from gateway.cli.place import AppOption, Config, Data, Json, OptionalDevice, Place, User
from gateway.security import tokens
from gateway.store.errors import AppNotFound

app = typer.Typer(no_args_is_help=True, epilog=EPILOG, help="Make, check and revoke tokens.")


async def _app(place: Place, app_id: str) -> tuple[App, float]:
    """The app, and the region's time in seconds since 1970, by which its tokens are checked."""
    place.check_home(app_id)
    async with place.admin() as admin:
        found, now_ms = await admin.get_app(app_id), await admin.now_ms()
    if found is None:
        raise AppNotFound(app_id)
    return found, now_ms / 1000


@app.command()
def new(
    user: User,
    app_id: AppOption = None,
    lifetime: Annotated[
        int | None,
        typer.Option(min=1, metavar="SECONDS", help="Default: the longest the app allows."),
    ] = None,
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a token for a user, as the app's back end would. Prints only the token."""
    place = Place.find(config, data)
    found, now = asyncio.run(_app(place, place.app_id(app_id)))
    if lifetime is None:
        lifetime = found.max_token_s
    if lifetime > found.max_token_s:
        raise typer.BadParameter(
            f"the app allows {found.max_token_s} s at most", param_hint="--lifetime"
        )
    token = tokens.mint(found.id, found.certificates[0], found.region, user, now, lifetime)
    if as_json:
        expires = int(now) + lifetime
        show({"token": token, "app": found.id, "user": user, "expires": expires}, as_json)
    else:
        typer.echo(token)


@app.command()
def check(
    token: Annotated[str, typer.Argument(help="The token, or - to read it from stdin.")],
    config: Config = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say whether a gateway would let a token in, and whom it names.

    Signature, times, audience and the app are checked; a revocation is not looked up.
    """
    place = Place.find(config, data)
    if token == "-":  # noqa: S105
        token = sys.stdin.readline().strip()
    found, now = asyncio.run(_app(place, tokens.app_id_of(token)))
    identity = tokens.verify(token, found, now)
    record = {
        "app": found.id,
        "user": identity.user,
        "issued": utc(identity.issued_s),
        "expires": utc(identity.expires_s),
    }
    show(record, as_json)


def _moment(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time, or of seconds since 1970."""
    try:
        if text.isdecimal():
            return int(text) * 1000
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter("like 2026-01-02T03:04:05Z, or seconds since 1970")
    return int(moment.timestamp() * 1000)


@app.command()
def revoke(
    user: User,
    before: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Tokens issued before this; default: before now."),
    ] = None,
    app_id: AppOption = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Refuse all tokens of a user that were issued before a time, and end their sessions."""
    given_ms = None if before is None else _moment(before)
    place = Place.find(config, data)
    target = place.app_id(app_id)

    async def run() -> int:
        place.check_home(target)
        async with place.admin() as admin:
            before_ms = await admin.now_ms() if given_ms is None else given_ms
            await admin.revoke(target, user, before_ms)
        return before_ms

    before_ms = asyncio.run(run())
    typer.echo(f"revoked: tokens of {user} issued before {utc(before_ms / 1000)}")


def kick(
    user: User,
    device: OptionalDevice = None,
    app_id: AppOption = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """End a user's sessions. Their tokens stay good: `homeport token revoke` ends those."""
    place = Place.find(config, data)
    target = place.app_id(app_id)

    async def run() -> None:
        place.check_home(target)
        async with place.admin() as admin:
            await admin.kick(target, user, device)

    asyncio.run(run())
    typer.echo(f"kicked {user}" + (f" on {device}" if device else ""))
