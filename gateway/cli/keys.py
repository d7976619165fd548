"""`homeport keys`: the region's key file."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.apps.regions import REGIONS
from gateway.cli.environment import Environment, Json, in_environment
from gateway.cli.errors import EPILOG
from gateway.cli.output import now_ms, show, utc
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store import audit

AFTER_S: Final = 60
"""Enough for a file that is shared, or copied by a script; gateways look every two seconds."""

MAX_AFTER_S: Final = 30 * 24 * 3600

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


def _record(keyring: Keyring, now: int) -> dict[str, object]:
    """What is shown of a keyring at `now`, in ms: which keys it holds, and nothing of a key."""
    return {
        "region": keyring.region,
        "active": keyring.active_at(now),
        "coming": {
            str(version): utc(keyring.active_from[version] / 1000)
            for version in sorted(keyring.coming_at(now))
        },
        "check_values": {
            str(version): keyring.check_value(version) for version in sorted(keyring.keys)
        },
    }


@app.command()
def init(file: File, region: Region, as_json: Json = False) -> None:
    """Make the key file of a new region, mode 0600. Back it up: without it nothing can be read."""
    keyring, now = Keyring.create(file, region), now_ms()
    _note(file, keyring, now, "keys init")
    show(_record(keyring, now), as_json)


@app.command()
@in_environment
def rotate(
    environment: Environment,
    file: File,
    after: Annotated[
        int, typer.Option(metavar="SECONDS", min=0, max=MAX_AFTER_S, help="When it takes over.")
    ] = AFTER_S,
    as_json: Json = False,
) -> None:
    """Add a new key to the file, to seal with a little later. Older keys stay, to read with.

    Running gateways see the new file by themselves, within seconds; no restart is needed. If each
    gateway has a file of its own, bring the new one to all of them before --after has passed.
    Kubernetes takes some minutes to renew a secret's files: there, use --after 600.

    Gateways use the clock of the region's Redis, and so does this command.
    """
    Keyring.load(file, environment.settings.region)  # another region's has another clock
    now = asyncio.run(_region_ms(environment))
    keyring = Keyring.rotate(file, after, now)
    _note(file, keyring, now, "keys rotate")
    show(_record(keyring, now), as_json)


def _note(file: Path, keyring: Keyring, now: int, action: str) -> None:
    """For `homeport audit`. Only beside the file: a new region has no Redis yet."""
    sealed = audit.seal(Sealer(keyring), audit.note(now, action, about=file.name))
    with contextlib.suppress(OSError):  # the keys are what matters
        audit.keep(audit.file_of(file), sealed)


async def _region_ms(environment: Environment) -> int:
    async with environment.admin() as admin:
        return await admin.region.now_ms()


@app.command()
def check(file: File, region: Region, as_json: Json = False) -> None:
    """Check the file's form, owner and mode. Equal check values mean equal keys."""
    show(_record(Keyring.load(file, region), now_ms()), as_json)
