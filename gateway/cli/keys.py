"""`homeport keys`: the region's key file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.apps.regions import REGIONS
from gateway.cli.errors import EPILOG
from gateway.cli.output import show
from gateway.cli.place import Json
from gateway.security.keyring import Keyring

app = typer.Typer(no_args_is_help=True, epilog=EPILOG, help="Make, rotate and check a key file.")


def _region(value: str) -> str:
    if value not in REGIONS:
        raise typer.BadParameter(f"one of {', '.join(REGIONS)}")
    return value


File = Annotated[Path, typer.Argument(metavar="FILE", help="The region's key file.")]
Region = Annotated[
    str,
    typer.Option(metavar="|".join(REGIONS), callback=_region, help="The region it belongs to."),
]


def _record(keyring: Keyring) -> dict[str, object]:
    """What is shown of a keyring: which keys it holds, and nothing of a key."""
    values = {str(version): keyring.check_value(version) for version in sorted(keyring.keys)}
    return {"region": keyring.region, "active": keyring.active, "check_values": values}


@app.command()
def init(file: File, region: Region, as_json: Json = False) -> None:
    """Make the key file of a new region, mode 0600. Back it up: without it nothing can be read."""
    show(_record(Keyring.create(file, region)), as_json)


@app.command()
def rotate(file: File, as_json: Json = False) -> None:
    """Add a new key to the file and make it the active one. Older keys stay, to read with.

    Bring the new file to every gateway of the region before one of them restarts with it.
    """
    show(_record(Keyring.rotate(file)), as_json)


@app.command()
def check(file: File, region: Region, as_json: Json = False) -> None:
    """Check the file's form, owner and mode. Equal check values mean equal keys."""
    show(_record(Keyring.load(file, region)), as_json)
