"""`homeport app`: the registry of one region's apps."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from gateway import files
from gateway.apps import app as apps
from gateway.apps.app import ACCOUNTS, App, settings_of
from gateway.apps.settings import SETTINGS, setting
from gateway.apps.tiers import TIERS
from gateway.cli.environment import AppArgument, Environment, Json, in_environment
from gateway.cli.errors import EPILOG
from gateway.cli.output import show, utc
from gateway.security.jwk import read_public
from gateway.security.jws import fingerprint
from gateway.security.token007 import certificate_of
from gateway.store.admin import Admin
from gateway.store.app_facts import AppFacts, app_facts

app = typer.Typer(no_args_is_help=True, epilog=EPILOG, help="Create, show and change apps.")


def _record(found: App) -> dict[str, object]:
    """What is shown of an app: everything but its secrets."""
    return {
        "id": found.id,
        "region": found.region,
        "account": found.account,
        "created": utc(found.created_ms / 1000),
        **settings_of(found),
    }


def _signing(found: App) -> dict[str, object]:
    """What is shown once, for the app's back end."""
    certificate = found.certificates[0]
    return {"certificate": certificate, "certificate_007": certificate_of(certificate)}


def _table() -> str:
    """The settings, for the help. Lines stay as they are after ``\\b``, which is typer's sign."""
    rows = []
    for each in SETTINGS.values():
        default = f"default {each.default}" if each.has_default else "no default"
        row = f"{each.name}: {each.kind.rule}; {default}. {each.means}"
        rows.append(textwrap.fill(row, 76, subsequent_indent="    "))
    return "\n\n".join(f"\b\n{row}" for row in ("The settings:", *rows))


@app.command()
@in_environment
def create(
    environment: Environment,
    name: Annotated[str, typer.Argument(help="A name for people.")],
    tier: Annotated[str, typer.Option(metavar="|".join(TIERS))] = "free",
    account: Annotated[str, typer.Option(metavar="|".join(ACCOUNTS))] = "global",
    as_json: Json = False,
) -> None:
    """Create an app.

    The gateway's region is its home for life. Prints its id and its certificate, with which the
    app's back end signs tokens, and the shorter one for tokens of the form 007. They are not shown
    again. `homeport app set` changes its settings.
    """

    async def run() -> App:
        async with environment.admin() as admin:
            made = apps.create_app(
                name,
                environment.settings.region,
                tier,
                account,
                await admin.region.now_ms(),
            )
            await admin.apps.create(made, made.created_ms)
        return made

    made = asyncio.run(run())
    show(_record(made) | _signing(made), as_json, verbatim=SETTINGS)


@app.command("list")
@in_environment
def list_(environment: Environment, as_json: Json = False) -> None:
    """List the region's apps. With --json, one object a line."""

    async def run() -> list[App]:
        async with environment.admin() as admin:
            return await admin.apps.all()

    found = asyncio.run(run())
    if as_json:
        for one in found:
            show(_record(one), as_json)
    elif not found:
        typer.echo("no apps yet; `homeport app create NAME` makes one", err=True)
    else:
        typer.echo(f"{'APP ID':<32}  {'TIER':<10}  {'CREATED':<20}  NAME")
        for one in found:
            created = utc(one.created_ms / 1000)
            typer.echo(f"{one.id}  {one.tier.name:<10}  {created}  {one.name}")


def _found(environment: Environment, app_id: str) -> App:
    """The app, of the gateway's own region."""

    async def run() -> App:
        environment.check_home(app_id)
        async with environment.admin() as admin:
            return await admin.apps.existing(app_id)

    return asyncio.run(run())


def _usage(found: AppFacts) -> dict[str, object]:
    """What is shown of what an app has."""
    counted = None if found.counted_ms is None else utc(found.counted_ms / 1000)
    return {
        "id": found.app.id,
        "name": found.app.name,
        "tier": found.app.tier.name,
        "bytes": found.bytes,
        "limit": found.app.tier.app_bytes,
        "never_connected": found.strange,
        "users": found.users,
        "groups": found.groups,
        "rooms": found.rooms,
        "counted": counted,
        "connections": found.connections,
    }


@app.command()
@in_environment
def usage(environment: Environment, as_json: Json = False) -> None:
    """Show what each app has stored, the largest first. With --json, one object a line.

    Gateways count bytes as they store, and tell Redis every few seconds. Users, groups and rooms
    are counted by a walk through all keys, a thousand every ten seconds; until one has ended, a
    dash stands for them.
    """

    async def run() -> list[AppFacts]:
        async with environment.admin() as admin:
            now_ms = await admin.region.now_ms()
            return await app_facts(admin.link, admin.keys, await admin.apps.all(), now_ms)

    found = asyncio.run(run())
    if as_json:
        for one in found:
            show(_usage(one), as_json)
        return
    heads = ("BYTES", "FULL", "USERS", "GROUPS", "ROOMS", "CONNECTIONS")
    widths = (17, 5, 10, 8, 8, 11)
    numbers = "  ".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True))
    typer.echo(f"{'APP ID':<32}  {'TIER':<10}  {numbers}  NAME")
    for one in found:
        counts = (
            "-" if each is None else f"{each:,}" for each in (one.users, one.groups, one.rooms)
        )
        cells = (f"{one.bytes:,}", f"{one.full:.0%}", *counts, f"{one.connections:,}")
        row = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        typer.echo(f"{one.app.id}  {one.app.tier.name:<10}  {row}  {one.app.name}")


@app.command("show")
@in_environment
def show_(environment: Environment, app_id: AppArgument, as_json: Json = False) -> None:
    """Show one app, without its secrets."""
    show(_record(_found(environment, app_id)), as_json, verbatim=SETTINGS)


def _change(
    environment: Environment, app_id: str, change: Callable[[Admin, int], Awaitable[App]]
) -> App:
    """Have the admin of the app's own region change it, at the region's time in milliseconds."""

    async def run() -> App:
        environment.check_home(app_id)
        async with environment.admin() as admin:
            return await change(admin, await admin.region.now_ms())

    return asyncio.run(run())


@app.command("set", epilog=_table())
@in_environment
def set_(
    environment: Environment,
    app_id: AppArgument,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    value: Annotated[str | None, typer.Argument(metavar="VALUE")] = None,
    to_default: Annotated[
        bool, typer.Option("--default", help="Instead of VALUE: what a new app has.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Change one setting of an app. Running gateways take it up at once."""
    found = setting(name)
    if (value is None) != to_default:
        raise typer.BadParameter("give one of VALUE and --default", param_hint=name)
    wanted = found.default if value is None else found.parse(value)
    changed = _change(
        environment, app_id, lambda admin, now_ms: admin.apps.change(app_id, name, wanted, now_ms)
    )
    show(_record(changed), as_json, verbatim=SETTINGS)


@app.command()
@in_environment
def rotate_certificate(
    environment: Environment, app_id: AppArgument, as_json: Json = False
) -> None:
    """Give an app a new certificate, and print it.

    The one before stays good until the next rotation, so give the new one to the app's back end,
    wait for the longest token's life (max_token_s), and rotate once more to be rid of the old one.
    """
    found = _change(
        environment, app_id, lambda admin, now_ms: admin.apps.rotate_certificate(app_id, now_ms)
    )
    environment.keep_certificate(found)
    show(_record(found) | _signing(found), as_json, verbatim=SETTINGS)


def _keys(found: App) -> list[dict[str, str]]:
    """What verifies the app's tokens, and nothing of a secret. `id` is what an identity's
    `signed_by` says."""
    return [
        {"id": fingerprint(each), "algorithm": "HS256", "kid": ""} for each in found.certificates
    ] + [{"id": each.id, "algorithm": each.algorithm, "kid": each.kid} for each in found.keys]


def _show_keys(found: App, as_json: bool) -> None:
    for each in _keys(found):
        if as_json:
            show(each, as_json)
        else:
            typer.echo(f"{each['algorithm']:<5}  {each['id']:<43}  {each['kid']}".rstrip())


@app.command()
@in_environment
def keys(environment: Environment, app_id: AppArgument, as_json: Json = False) -> None:
    """List what an app's tokens may be signed with: algorithm, id and `kid`. No secrets.

    HS256 stands for a certificate, with the newest first. With --json, one object a line.
    """
    _show_keys(_found(environment, app_id), as_json)


@app.command()
@in_environment
def add_key(
    environment: Environment,
    app_id: AppArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The public key; - reads it from stdin.")
    ],
    as_json: Json = False,
) -> None:
    """Accept tokens signed with a key of the app's own: a public key as JWK or PEM.

    P-256 for tokens by ES256, Ed25519 for EdDSA. An app has two at most, so that one can follow the
    other. Prints all that the app has. Its certificate stays good as well.
    """
    data = sys.stdin.buffer.read(files.MAX_BYTES) if str(file) == "-" else files.read(file).data
    key = read_public(data)
    _show_keys(
        _change(environment, app_id, lambda admin, now_ms: admin.apps.add_key(app_id, key, now_ms)),
        as_json,
    )


@app.command(context_settings={"ignore_unknown_options": True})  # an id may begin with a dash
@in_environment
def remove_key(
    environment: Environment,
    app_id: AppArgument,
    name: Annotated[str, typer.Argument(metavar="KEY", help="Its `kid`, or its id.")],
    as_json: Json = False,
) -> None:
    """Accept no more tokens of a public key, and end the sessions that they opened."""
    _show_keys(
        _change(
            environment, app_id, lambda admin, now_ms: admin.apps.remove_key(app_id, name, now_ms)
        ),
        as_json,
    )


@app.command()
@in_environment
def delete(
    environment: Environment,
    app_id: AppArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete an app. Its users are disconnected, and its messages are deleted from Redis.

    Redis' append-only file keeps copies until it is rewritten, and so do backups: with the key file
    they can be read. After BGREWRITEAOF, and once the last backup from before is gone, nobody can.
    """

    async def run() -> None:
        environment.check_home(app_id)
        async with environment.admin() as admin:
            await admin.apps.delete(app_id)

    if not yes:
        typer.confirm(f"Delete {app_id} and all that its users wrote, for good?", abort=True)
    asyncio.run(run())
    typer.echo(f"deleted {app_id}")
