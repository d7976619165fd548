"""`homeport region`: where a region begins, and whether its Redis is the one it should be."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec
import typer

from gateway.cli.environment import Environment, Json, in_environment
from gateway.cli.errors import EPILOG, ExitCode
from gateway.cli.output import show, utc
from gateway.security.keyring import Keyring
from gateway.store.audit import Note
from gateway.store.sweeper import SILENT_MS

app = typer.Typer(no_args_is_help=True, epilog=EPILOG, help="Begin a region, and look after it.")

_AGAIN: Final = (
    "Region {region} has begun at {begun}, and nothing of it is in this Redis. If it begins here "
    "anew, its apps, certificates and messages are gone for good, and its clients are told that "
    "their apps are unknown. If there is a backup, restore it instead. Begin anew?"
)


@app.command()
@in_environment
def init(
    environment: Environment,
    again: Annotated[
        bool,
        typer.Option("--again", help="Also if it has begun before, and all it had is lost."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Begin the region in the Redis of the configuration, and note that in its key file.

    A region begins once. From then on a gateway that finds an empty Redis does not use it: it may
    be the wrong one, or one that has lost its data. A first gateway, or the first app, also begin a
    region, where the key file does not say that it has begun and can be written.
    """
    settings = environment.settings

    async def run(again: bool) -> bool:
        async with environment.admin() as admin:
            return await admin.region.begin(again=again)

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


@app.command()
@in_environment
def check(
    environment: Environment,
    done: Annotated[
        bool, typer.Option("--done", help="What came from the past has been done again.")
    ] = False,
) -> None:
    """See whether the region's Redis came back from the past, and what must be done again.

    It compares when gateways were at work, as Redis has it, and the notes of what operators did in
    Redis and beside the key file. Run it after a restore, before gateways start. Exit code 1: there
    is something to do. It knows nothing of what users did: messages, recalls, groups, blocks.
    """

    async def run() -> tuple[int | None, list[tuple[int, int]], list[Note], int]:
        async with environment.admin() as admin:
            if done:
                await admin.region.settle()
            seen, gaps = await admin.region.life()
            _, undone = await admin.region.notes()
            return seen, gaps, undone, await admin.region.now_ms()

    seen, gaps, undone, now = asyncio.run(run())
    typer.echo(f"region {environment.settings.region}: its stamp and keys are right")
    if seen is not None:
        silent = (now - seen) // 1000
        typer.echo(f"a gateway was at work last at {utc(seen / 1000)}, {silent} s ago")
        if now - seen >= SILENT_MS:
            gaps = [*gaps, (seen, now)]
    for since, until in gaps:
        typer.echo(
            f"from {utc(since / 1000)} to {utc(until / 1000)} no gateway was at work, or what was "
            "done then is not in this Redis"
        )
    undone = [note for note in undone if not note.action.startswith("keys ")]
    for note in undone:
        typer.echo(f"not in this Redis, do it again: {_line(note)}")
    if gaps or undone:
        typer.echo(
            "if this Redis is that of a backup: tokens that were revoked are good again "
            f"(homeport token revoke --all --region {environment.settings.region}), so are "
            "certificates that were rotated away (homeport app rotate-certificate), and what was "
            "recalled, erased, blocked or left is as it was: see deploy/RUNBOOK.md, Restore. "
            "When that is done: homeport region check --done"
        )
        raise typer.Exit(ExitCode.REFUSED)


@in_environment
def audit(environment: Environment, as_json: Json = False) -> None:
    """Show what operators did with `homeport`: when, as which user, on which machine.

    It lists the region's last 1,000 entries, and those that only the file beside this machine's key
    file has, such as a rotation of the keys.
    """

    async def run() -> tuple[list[Note], list[Note]]:
        async with environment.admin() as admin:
            return await admin.region.notes()

    there, only_here = asyncio.run(run())
    for note in sorted([*there, *only_here], key=lambda note: note.ms):
        if as_json:
            fields = msgspec.structs.asdict(note)
            show(fields | {"ms": note.ms, "in_redis": note not in only_here}, as_json)
        else:
            typer.echo(_line(note) + ("  (not in Redis)" if note in only_here else ""))


def _line(note: Note) -> str:
    return f"{utc(note.ms / 1000)}  {note.by}  {note.action} {note.app} {note.about}".rstrip()
