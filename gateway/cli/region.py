"""`homeport region`: where a region begins, and whether its Redis is the one it should be."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer

from gateway.cli.errors import EPILOG
from gateway.cli.place import Config, Data, Place
from gateway.security.keyring import Keyring

app = typer.Typer(no_args_is_help=True, epilog=EPILOG, help="Begin a region, and look after it.")

_AGAIN: Final = (
    "Region {region} has begun at {begun}, and nothing of it is in this Redis. If it begins here "
    "anew, its apps, certificates and messages are gone for good, and its clients are told that "
    "their apps are unknown. If there is a backup, restore it instead. Begin anew?"
)


@app.command()
def init(
    again: Annotated[
        bool,
        typer.Option("--again", help="Also if it has begun before, and all it had is lost."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Begin the region in the Redis of the configuration, and note that in its key file.

    A region begins once. From then on a gateway that finds an empty Redis does not use it: it may
    be the wrong one, or one that has lost its data. A first gateway, or the first app, also begin a
    region, where the key file does not say that it has begun and can be written.
    """
    place = Place.find(config, data)
    settings = place.settings

    async def run(again: bool) -> bool:
        async with place.admin() as admin:
            return await admin.begin_region(again=again)

    if again and not yes:
        begun = Keyring.load(settings.key_file, settings.region).begun
        if begun is not None:
            typer.confirm(_AGAIN.format(region=settings.region, begun=begun), abort=True)
    if asyncio.run(run(again)):
        typer.echo(f"begun: region {settings.region}")
    else:
        typer.echo(f"region {settings.region} has begun in this Redis already")
    if Keyring.load(settings.key_file, settings.region).begun is None:
        typer.echo(
            f"{settings.key_file} can't be marked as begun: gateways with this copy of it begin no "
            "region by themselves",
            err=True,
        )
