"""`homeport token` and `homeport kick`: let users in, and send them away."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway import files
from gateway.apps.app import App
from gateway.cli.environment import (
    AppOption,
    Environment,
    Json,
    OptionalDevice,
    User,
    in_environment,
    user_id,
)
from gateway.cli.errors import EPILOG, CommandError
from gateway.cli.output import show, utc
from gateway.security import tokens
from gateway.security.jwk import read_private
from gateway.store.errors import AppNotFound

app = typer.Typer(no_args_is_help=True, epilog=EPILOG, help="Make, check and revoke tokens.")


async def _app(environment: Environment, app_id: str) -> tuple[App, float]:
    """The app, and the region's time in seconds since 1970, by which its tokens are checked."""
    environment.check_home(app_id)
    async with environment.admin() as admin:
        found, now_ms = await admin.apps.get(app_id), await admin.region.now_ms()
    if found is None:
        raise AppNotFound(app_id)
    return found, now_ms / 1000


@app.command()
@in_environment
def new(
    environment: Environment,
    user: User,
    app_id: AppOption = None,
    lifetime: Annotated[
        int | None,
        typer.Option(min=1, metavar="SECONDS", help="Default: the longest the app allows."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Sign with this private key, a JWK or PEM, instead of the app's certificate.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token for a user, as the app's back end would. Prints only the token."""
    signer = None if key is None else read_private(files.read(key).data)
    found, now = asyncio.run(_app(environment, environment.app_id(app_id)))
    if lifetime is None:
        lifetime = found.max_token_s
    if lifetime > found.max_token_s:
        raise typer.BadParameter(
            f"the app allows {found.max_token_s} s at most", param_hint="--lifetime"
        )
    token = tokens.mint(
        found.id, signer or found.certificates[0], found.region, user, now, lifetime
    )
    if as_json:
        expires = int(now) + lifetime
        show({"token": token, "app": found.id, "user": user, "expires": expires}, as_json)
    else:
        typer.echo(token)


_Token = Annotated[str, typer.Argument(help="The token, or - to read it from stdin.")]


def _read(token: str) -> str:
    """A token that is given on the command line, or on stdin, where no history keeps it."""
    return sys.stdin.readline().strip() if token == "-" else token  # noqa: S105


@app.command()
def inspect(token: _Token, as_json: Json = False) -> None:
    """Show what a token says, for what it is worth: nothing is verified, and no gateway asked."""
    said = tokens.contents(_read(token))
    if not as_json:
        for name in said.keys() & {"iat", "exp", "nbf"}:
            said[name] = _time(said[name])
    show(said, as_json, verbatim=said)


def _time(value: object) -> object:
    """Seconds since 1970 as a person reads them; anything else as it is."""
    latest = datetime.max.replace(tzinfo=UTC).timestamp()
    return utc(value) if isinstance(value, int | float) and 0 <= value < latest else value


@app.command()
@in_environment
def check(environment: Environment, token: _Token, as_json: Json = False) -> None:
    """Say whether a gateway would let a token in, and whom it names.

    Signature, times, audience and the app are checked; a revocation is not looked up.
    """
    token = _read(token)
    found, now = asyncio.run(_app(environment, tokens.app_id_of(token)))
    identity = tokens.verify(token, found, now)
    record = {
        "app": found.id,
        "user": identity.user,
        "issued": utc(identity.issued_s),
        "expires": utc(identity.expires_s),
        "signed_by": identity.signed_by,
    }
    show(record, as_json)


async def _revoke_one(environment: Environment, token: str) -> None:
    found, now = await _app(environment, tokens.app_id_of(token))
    identity = tokens.verify(token, found, now)  # one that lets nobody in need not be revoked
    async with environment.admin() as admin:
        await admin.access.revoke_token(found.id, identity)
    typer.echo(f"revoked: one token of {identity.user}, good until {utc(identity.expires_s)}")


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
@in_environment
def revoke(
    environment: Environment,
    user: Annotated[
        str | None, typer.Option("--user", metavar="USER", callback=user_id, help="Whose tokens.")
    ] = None,
    *,
    everybody: Annotated[
        bool, typer.Option("--all", help="Those of all users of the app, or of the region.")
    ] = False,
    one: Annotated[
        str | None,
        typer.Option("--token", metavar="TOKEN", help="This one alone; - reads it from stdin."),
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Tokens issued before this. Default: all that there are now, which are those "
            f"issued until {tokens.MAX_CLOCK_SKEW_S} s from now: a back end's clock may be ahead.",
        ),
    ] = None,
    app_id: AppOption = None,
    region: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="With --all: of every app of this region."),
    ] = None,
) -> None:
    """Refuse all tokens that were issued before a time, and end the sessions they opened.

    One user's (--user), all of an app (--all --app ID), or all of the region (--all --region CODE).
    Or one token alone (--token), however it is written.
    """
    if one is not None:
        if user or everybody or region or app_id or before:
            raise typer.BadParameter("goes with no other option", param_hint="--token")
        asyncio.run(_revoke_one(environment, _read(one)))
        return
    before_ms = None if before is None else _moment(before)
    if (user is None) is not everybody:
        raise typer.BadParameter("one of --user, --all and --token", param_hint="--user")
    if region is not None and (not everybody or app_id is not None):
        raise typer.BadParameter("goes with --all, and not with --app", param_hint="--region")
    if region not in (None, environment.settings.region):
        raise CommandError(f"this is region {environment.settings.region}, not {region}")

    async def run() -> int:
        async with environment.admin() as admin:
            if region is not None:
                return await admin.access.revoke_region(before_ms)
            target = environment.app_id(app_id)
            environment.check_home(target)
            if user is None:
                return await admin.access.revoke_app(target, before_ms)
            return await admin.access.revoke(target, user, before_ms)

    voided = utc(asyncio.run(run()) / 1000)
    whose = user or (f"all of region {region}" if region else "all of the app")
    typer.echo(f"revoked: tokens of {whose} issued before {voided}")


@in_environment
def kick(
    environment: Environment,
    user: User,
    device: OptionalDevice = None,
    app_id: AppOption = None,
) -> None:
    """End a user's sessions. Their tokens stay good: `homeport token revoke` ends those."""
    target = environment.app_id(app_id)

    async def run() -> None:
        environment.check_home(target)
        async with environment.admin() as admin:
            await admin.access.kick(target, user, device)

    asyncio.run(run())
    typer.echo(f"kicked {user}" + (f" on {device}" if device else ""))
