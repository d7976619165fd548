"""`homeport user`: look into one user, where "Bob gets no messages"."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from homeport import codes

from gateway.cli.environment import (
    AppOption,
    Environment,
    Json,
    in_environment,
    user_id,
)
from gateway.cli.errors import EPILOG
from gateway.cli.messages import visible
from gateway.cli.output import show, utc
from gateway.cli.tracing import trace
from gateway.security.keyring import Keyring
from gateway.security.pseudonyms import Pseudonyms

if TYPE_CHECKING:
    from gateway.store.endings import NotedEnd
    from gateway.store.user_facts import DeviceFacts, SessionFacts, UserFacts

app = typer.Typer(no_args_is_help=True, epilog=EPILOG, help="Find out why a user gets no messages.")

app.command()(trace)

UserArgument = Annotated[str, typer.Argument(metavar="USER", callback=user_id)]


@app.command("show")
@in_environment
def show_(
    environment: Environment,
    user: UserArgument,
    app_id: AppOption = None,
    as_json: Json = False,
) -> None:
    """Show what the region knows of a user, and change nothing.

    That is devices and where they are connected, how far each has got in the inbox, what is unread,
    blocks, revocation, and by what the last sessions ended. Never what a message says.
    """
    target = environment.app_id(app_id)

    async def run() -> UserFacts:
        from gateway.store.user_facts import read_user  # see `Environment.admin`

        environment.check_home(target)
        async with environment.admin() as admin:
            found = await admin.apps.existing(target)
            return await read_user(admin.link, admin.keys, found, user)

    facts = asyncio.run(run())
    hashes = _hashes(environment, target, user)
    if as_json:
        show({"app": target, "user": user, "hash": hashes} | _record(facts), as_json)
        return
    show({"user": user, "in the log": f"user={hashes['user']} app={hashes['app']}"}, as_json)
    for line in _lines(facts):
        typer.echo(visible(line))


@app.command("hash")
@in_environment
def hash_(
    environment: Environment,
    user: UserArgument,
    app_id: AppOption = None,
    as_json: Json = False,
) -> None:
    """Print what gateways call a user, and the app, in their logs. Needs the key file alone."""
    show(_hashes(environment, environment.app_id(app_id), user), as_json)


def _hashes(environment: Environment, app_id: str, user: str) -> dict[str, str]:
    settings = environment.settings
    names = Pseudonyms(Keyring.load(settings.key_file, settings.region))
    return {"user": names.user(app_id, user), "app": names.app(app_id)}


# -- for scripts -----------------------------------------------------------------------------------


def _record(facts: UserFacts) -> dict[str, object]:
    return {
        "presence": facts.presence,
        "inbox": {
            "head": facts.head,
            "kept": facts.kept,
            "cap": facts.cap,
            "oldest_s": _age(facts, facts.oldest_ms),
        },
        "devices": [_device(facts, each) for each in facts.devices],
        "looking": [_device(facts, each) for each in facts.looking],
        "unread": facts.unread,
        "unread_more": facts.more,
        "blocks": facts.blocks,
        "blocked_by": facts.blocked_by,
        "revoked_before": _moment(facts.revoked_before_ms),
        "groups": facts.groups,
        "ends": [
            {
                "time": _moment(end.ms),
                "by": end.cause.by,
                "code": end.cause.code,
                "name": _code_name(end),
                "device": end.device,
                "session": end.session,
            }
            for end in facts.ends
        ],
        "loss": None
        if facts.loss is None
        else {
            "time": _moment(facts.loss.ms),
            "device": facts.loss.device,
            "first": facts.loss.first,
            "last": facts.loss.last,
        },
    }


def _device(facts: UserFacts, each: DeviceFacts) -> dict[str, object]:
    session: dict[str, Any] | None = None
    if each.session is not None:
        session = {
            "id": each.session.id,
            "gateway": each.session.gateway,
            "where": each.session.where,
            "since": _moment(each.session.since_ms),
            "connected": each.session.connected,
        }
    return {
        "device": each.device,
        "platform": each.platform,
        "session": session,
        "seen": _moment(each.seen_ms),
        "acknowledged": each.acknowledged,
        "unacknowledged": each.unacknowledged,
        "oldest_s": _age(facts, each.oldest_ms),
        "away": each.away,
        "displaced": each.displaced,
    }


def _moment(ms: int) -> str | None:
    return utc(ms / 1000) if ms else None


def _age(facts: UserFacts, ms: int | None) -> int | None:
    return None if ms is None else max(facts.now_ms - ms, 0) // 1000


def _code_name(end: NotedEnd) -> str:
    known = codes.CLOSES.get(end.cause.code) if end.cause.by == "gateway" else None
    return known.name if known else ""


# -- for people ------------------------------------------------------------------------------------


def _lines(facts: UserFacts) -> Iterator[str]:
    yield f"presence    {facts.presence}"
    oldest = "" if facts.oldest_ms is None else f", the oldest {_ago(facts, facts.oldest_ms)}"
    yield f"inbox       head {facts.head}; {facts.kept} of {facts.cap} kept{oldest}"
    revoked = facts.revoked_before_ms
    issued = f"tokens issued before {_moment(revoked)}" if revoked else "no tokens"
    yield f"revoked     {issued}"
    yield f"blocks      {_names(facts.blocks)}"
    yield f"blocked by  {_names(facts.blocked_by)}"
    yield f"groups      {facts.groups}"
    unread = [f"{peer} {number}" for peer, number in facts.unread.items()]
    yield f"unread      {_names(unread, 'nothing')}{' and others' if facts.more else ''}"
    yield "devices" if facts.devices else "devices     none was ever here, or none lately"
    for device in facts.devices:
        yield from _device_lines(facts, device, device.device)
    for device in facts.looking:
        yield from _device_lines(facts, device, "(no device, only looking)")
    yield "last ends" if facts.ends else "last ends   none in the last 30 days"
    for end in facts.ends:
        yield f"  {utc(end.ms / 1000)}  {end.device}  {_cause(end)}  session {end.session}"
    if facts.loss is not None:
        loss = facts.loss
        yield (
            f"last loss   {utc(loss.ms / 1000)}: {loss.device} was told that messages "
            f"{loss.first} to {loss.last} are gone"
        )


def _device_lines(facts: UserFacts, each: DeviceFacts, name: str) -> Iterator[str]:
    platform = f" ({each.platform})" if each.platform else ""
    yield f"  {name}{platform}: {_state(facts, each)}"
    waits = "nothing waits"
    if each.oldest_ms is not None:
        waits = f"{each.unacknowledged} wait, the oldest {_ago(facts, each.oldest_ms)}"
    yield f"    acknowledged {each.acknowledged} of {facts.head}; {waits}"
    if each.session is not None:
        yield f"    session {each.session.id} on gateway {_gateway(each.session)}"


def _state(facts: UserFacts, each: DeviceFacts) -> str:
    session = each.session
    away = ", says it is away" if each.away else ""
    if each.displaced:
        return f"made room for another device, last seen {_ago(facts, each.seen_ms)}"
    if session is None:
        return f"not connected, last seen {_ago(facts, each.seen_ms)}"
    if not session.connected:
        return f"its gateway is gone, last seen {_ago(facts, each.seen_ms)}"
    return f"connected since {utc(session.since_ms / 1000)}{away}"


def _gateway(session: SessionFacts) -> str:
    return f"{session.gateway} ({session.where})" if session.where else session.gateway


def _cause(end: NotedEnd) -> str:
    by, code = end.cause
    if by == "nobody":
        return "the connection broke off"
    known = codes.CLOSES.get(code) if by == "gateway" else None
    said = f"{code} {known.name}: {known.meaning}" if known else str(code)
    return f"closed by the {by}, {said}"


def _names(names: Iterable[str], none: str = "nobody") -> str:
    return ", ".join(names) or none


def _ago(facts: UserFacts, ms: int) -> str:
    """Like ``2 h 5 min ago``."""
    seconds = max(facts.now_ms - ms, 0) // 1000
    for unit, size, smaller, part in (
        ("d", 86_400, "h", 3600),
        ("h", 3600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // part} {smaller} ago"
    return f"{seconds} s ago"
