"""`homeport key`: the keys with which apps' back ends use the REST API."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from gateway.apps.api_keys import MAX_NAME_CHARS, SCOPES, ApiKey, new_key
from gateway.cli.environment import AppArgument, Environment, Json, in_environment
from gateway.cli.errors import EPILOG
from gateway.cli.output import show, utc

app = typer.Typer(
    no_args_is_help=True,
    epilog=EPILOG,
    help="Create, list and delete the keys of back ends. An app has two at most, for rotation.",
)


def _name(value: str) -> str:
    if len(value) > MAX_NAME_CHARS:
        raise typer.BadParameter(f"{MAX_NAME_CHARS} characters at most")
    return value


def _record(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "created": utc(key.created_ms / 1000),
    }


@app.command()
@in_environment
def create(
    environment: Environment,
    app_id: AppArgument,
    scope: Annotated[
        list[str],
        typer.Option(metavar="|".join(SCOPES), help="What it is for; several are allowed."),
    ],
    name: Annotated[str, typer.Option(callback=_name, help="What people call it.")] = "",
    as_json: Json = False,
) -> None:
    """Give an app a key, and print it. It is shown this once: only its hash is kept.

    To rotate: create the second one, give it to the back end, and delete the first.
    """

    async def run() -> tuple[str, ApiKey]:
        environment.check_home(app_id)
        async with environment.admin() as admin:
            now_ms = await admin.region.now_ms()
            text, key = new_key(environment.settings.region, app_id, name, scope, now_ms)
            await admin.apps.add_api_key(app_id, key, now_ms)
        return text, key

    text, key = asyncio.run(run())
    show(_record(key) | {"key": text}, as_json)


@app.command("list")
@in_environment
def list_(environment: Environment, app_id: AppArgument, as_json: Json = False) -> None:
    """List an app's keys, without what opens anything. With --json, one object a line."""

    async def run() -> tuple[ApiKey, ...]:
        environment.check_home(app_id)
        async with environment.admin(writes=False) as admin:
            return (await admin.apps.existing(app_id)).api_keys

    found = asyncio.run(run())
    if as_json:
        for key in found:
            show(_record(key), as_json)
    elif not found:
        typer.echo("no keys; `homeport key create` makes one", err=True)
    else:
        typer.echo(f"{'ID':<8}  {'CREATED':<20}  {'SCOPES':<24}  NAME")
        for key in found:
            created, scopes = utc(key.created_ms / 1000), " ".join(key.scopes)
            typer.echo(f"{key.id:<8}  {created}  {scopes:<24}  {key.name}")


@app.command()
@in_environment
def delete(
    environment: Environment,
    app_id: AppArgument,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="Of `homeport key list`.")],
) -> None:
    """Delete a key. Gateways refuse it within a second."""

    async def run() -> None:
        environment.check_home(app_id)
        async with environment.admin() as admin:
            await admin.apps.delete_api_key(app_id, key_id, await admin.region.now_ms())

    asyncio.run(run())
    typer.echo(f"deleted {key_id}")
