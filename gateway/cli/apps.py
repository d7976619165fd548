"""`homeport app`: the registry of one region's apps."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from gateway.apps import app as apps
from gateway.apps.app import ACCOUNTS, App, settings_of
from gateway.apps.settings import SETTINGS, setting
from gateway.apps.tiers import TIERS
from gateway.cli.environment import AppArgument, Environment, Json, in_environment
from gateway.cli.errors import EPILOG
from gateway.cli.output import show, utc
from gateway.store.admin import Admin
from gateway.store.errors import AppNotFound

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
    app's back end signs tokens. The certificate is not shown again. `homeport app set` changes its
    settings.
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
    show(_record(made) | {"certificate": made.certificates[0]}, as_json, verbatim=SETTINGS)


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


@app.command("show")
@in_environment
def show_(environment: Environment, app_id: AppArgument, as_json: Json = False) -> None:
    """Show one app, without its secrets."""

    async def run() -> App:
        environment.check_home(app_id)
        async with environment.admin() as admin:
            found = await admin.apps.get(app_id)
        if found is None:
            raise AppNotFound(app_id)
        return found

    show(_record(asyncio.run(run())), as_json, verbatim=SETTINGS)


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
    show(_record(found) | {"certificate": found.certificates[0]}, as_json, verbatim=SETTINGS)


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
