"""`homeport group`: make groups and change them, as one of their members."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar

import typer
from homeport import Added, Client, Group, GroupInfo
from homeport.frames.groups import Role
from homeport.ids import group_of

from gateway.cli.environment import Json, user_id
from gateway.cli.errors import EPILOG
from gateway.cli.messages import visible
from gateway.cli.output import show
from gateway.cli.target import Target, as_user, ask, note

TIMEOUT_S: Final = 15.0

app = typer.Typer(
    no_args_is_help=True, epilog=EPILOG, help="Create groups, change them, list their members."
)

_T = TypeVar("_T")


def _group(value: str) -> str:
    group = group_of(value) or group_of(f"g:{value}")
    if group is None:
        raise typer.BadParameter("a group is g: and 32 lower-case hex digits")
    return group


def _user_ids(values: list[str] | None) -> list[str] | None:
    for value in values or []:
        user_id(value)
    return values


GroupArgument = Annotated[
    str,
    typer.Argument(metavar="GROUP", callback=_group, help="As `group create` and `list` print it."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What its members see.")]
Users = Annotated[list[str], typer.Argument(metavar="USER", callback=_user_ids)]
Member = Annotated[str, typer.Argument(metavar="USER", callback=user_id)]


def _ask(target: Target, question: Callable[[Client], Awaitable[_T]]) -> _T:
    return asyncio.run(ask(target, question, TIMEOUT_S, "not known to be done"))


def _change(target: Target, group: str, change: Callable[[Group], Awaitable[None]]) -> None:
    _ask(target, lambda client: change(client.group(group)))
    typer.echo("ok")


def _tell(added: Added) -> None:
    """Say who is not a member."""
    for user in added.invited:
        note(f"invited, and not a member before they accept: {user}")
    for user in added.blocked:
        note(f"not added, for they block you: {user}")


@app.command()
@as_user
def create(
    target: Target,
    name: Name,
    members: Annotated[
        list[str] | None,
        typer.Argument(metavar="USER", callback=_user_ids, help="Members beside yourself."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a group that you own. Prints only what `send --to` takes."""

    async def made(client: Client) -> GroupInfo:
        group = await client.create_group(name, members or [], timeout=None)
        if members:
            _tell(await group.add(members, timeout=None))
        return await group.info(timeout=None)

    info = _ask(target, made)
    if as_json:
        show(_record(info), as_json)
    else:
        typer.echo(info.peer)


@app.command()
@as_user
def rename(target: Target, group: GroupArgument, name: Name) -> None:
    """Call a group something else. For its owner and admins."""
    _change(target, group, lambda it: it.rename(name, timeout=None))


@app.command()
@as_user
def delete(target: Target, group: GroupArgument) -> None:
    """End a group. For its owner."""
    _change(target, group, lambda it: it.delete(timeout=None))


@app.command()
@as_user
def add(target: Target, group: GroupArgument, users: Users) -> None:
    """Make users members, or invite them. For the owner and admins.

    Users who left the group are invited, and so is everybody if the app's setting group_adding says
    so. They accept with `group join`.
    """
    _tell(_ask(target, lambda client: client.group(group).add(users, timeout=None)))
    typer.echo("ok")


@app.command()
@as_user
def join(target: Target, group: GroupArgument) -> None:
    """Accept an invitation to a group. `group leave` declines it."""
    _change(target, group, lambda it: it.join(timeout=None))


@app.command()
@as_user
def remove(target: Target, group: GroupArgument, users: Users) -> None:
    """Take members out. For the owner; admins may remove members."""
    _change(target, group, lambda it: it.remove(users, timeout=None))


@app.command()
@as_user
def leave(target: Target, group: GroupArgument) -> None:
    """Be a member no more, or decline an invitation. The owner hands the group over first."""
    _change(target, group, lambda it: it.leave(timeout=None))


@app.command()
@as_user
def role(
    target: Target,
    group: GroupArgument,
    member: Member,
    role: Annotated[Role, typer.Argument(metavar="owner|admin|member")],
) -> None:
    """Give a member a role. Only the owner may; one who makes another owner becomes admin."""
    _change(target, group, lambda it: it.set_role(member, role, timeout=None))


@app.command()
@as_user
def mute(
    target: Target,
    group: GroupArgument,
    member: Annotated[
        str | None,
        typer.Argument(
            metavar="USER", callback=user_id, help="Default: everyone but owner and admins."
        ),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Let them send again.")] = False,
) -> None:
    """Let a member, or all members, send no more. For the owner and admins."""

    def mute(group: Group) -> Awaitable[None]:
        change = group.unmute if off else group.mute
        return change(member, timeout=None)

    _change(target, group, mute)


@app.command("list")
@as_user
def list_(target: Target, as_json: Json = False) -> None:
    """List the groups you are in. With --json, one object a line."""
    found = _ask(target, lambda client: client.groups(timeout=None))
    if as_json:
        for one in found:
            show(_record(one), as_json)
    elif not found:
        typer.echo("no groups; `homeport group create NAME USER...` makes one", err=True)
    else:
        typer.echo(f"{'GROUP':<34}  {'ROLE':<6}  {'MEMBERS':>7}  NAME")
        for one in found:
            typer.echo(f"{one.peer}  {one.role:<6}  {one.size:>7}  {visible(one.name)}")


@app.command("show")
@as_user
def show_(target: Target, group: GroupArgument, as_json: Json = False) -> None:
    """Show a group and all its members. For its members."""
    found = _ask(target, lambda client: client.group(group).info(timeout=None))
    if as_json:
        members = [
            {"user": each.user, "role": each.role, "muted": each.muted} for each in found.members
        ]
        show(_record(found) | {"members": members}, as_json)
        return
    show(_record(found) | {"name": visible(found.name)}, as_json)
    for each in found.members:
        typer.echo(f"{each.role:<6}  {each.user}" + ("  muted" if each.muted else ""))


def _record(group: GroupInfo) -> dict[str, object]:
    """What is shown of a group in any case."""
    return {
        "group": group.peer,
        "name": group.name,
        "role": group.role,
        "size": group.size,
        "muted": group.muted,
        "version": group.version,
    }
