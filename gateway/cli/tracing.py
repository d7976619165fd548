"""`homeport user trace`: a user's frames as they come and go, on every gateway of the region."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec
import typer
from homeport import codes

from gateway.cli.environment import (
    AppOption,
    Environment,
    Json,
    in_environment,
    user_id,
)
from gateway.cli.errors import CommandError, ExitCode
from gateway.cli.messages import visible
from gateway.cli.output import show
from gateway.cli.target import note
from gateway.redis.errors import Unavailable
from gateway.runtime import logs
from gateway.runtime.core import Core
from gateway.security.sealing import Sealer, SealError
from gateway.session import tracing
from gateway.session.tracing import MAX_MINUTES, MAX_TRACES, REPEAT_S, Line, Order, TraceBatch
from gateway.store.errors import AppNotFound
from gateway.tasks import Tasks

CONNECT_S: Final = 10.0
SILENT_S: Final = 2 * REPEAT_S
"""If no gateway answers for this long, the command says so."""


@in_environment
def trace(
    environment: Environment,
    user: Annotated[str, typer.Argument(metavar="USER", callback=user_id)],
    app_id: AppOption = None,
    minutes: Annotated[
        int, typer.Option(min=1, max=MAX_MINUTES, metavar="N", help="End after N minutes.")
    ] = 10,
    as_json: Json = False,
) -> None:
    """Print each frame of a user's sessions, from every gateway, until Ctrl-C.

    That is time, session, device, gateway, way, type, request id or number, bytes and code: no text
    and no body. Sessions that begin meanwhile are traced too. With --json, one object a line.
    """
    target = environment.app_id(app_id)
    logs.configure("error", "console")
    try:
        asyncio.run(_trace(environment, target, user, minutes, as_json))
    except KeyboardInterrupt:
        note("trace ended")


class _Batches(asyncio.Queue[bytes]):
    """What gateways told and was not printed yet."""

    def heard(self, _: bytes, payload: bytes) -> None:
        """See `ChannelListener`."""
        self.put_nowait(payload)


async def _trace(
    environment: Environment, app_id: str, user: str, minutes: int, as_json: bool
) -> None:
    environment.check_home(app_id)
    async with environment.admin() as admin:
        if await admin.apps.get(app_id) is None:
            raise AppNotFound(app_id)
        clock = admin.region.clock
    core, trace_id = Core.of(environment.settings), secrets.token_hex(8)
    sealer, keys = core.sealer, core.keys
    channel = keys.trace_lines(trace_id)
    told = _Batches()
    link, subscriber = core.open_redis(Tasks(note))

    async def order(ends: bool = False) -> None:
        asked = Order(trace_id, app_id, user, ends)
        sealed = tracing.seal(sealer, keys.trace_orders, asked, int(clock.now() * 1000))
        try:
            await link.publish(keys.trace_orders, sealed)
        except Unavailable as error:
            note(f"Redis is away ({error.reason}); lines may be missing")

    try:
        try:
            async with asyncio.timeout(CONNECT_S):
                await link.start()
                await subscriber.start()
                await subscriber.subscribe(channel, told)
        except TimeoutError:
            raise CommandError("Redis does not answer", ExitCode.UNAVAILABLE) from None
        await _follow(
            told, order, minutes, lambda payload: _print(sealer, channel, payload, as_json)
        )
    finally:
        if link.up:  # else gateways stop by themselves, soon
            await order(ends=True)
        await subscriber.aclose()
        await link.aclose()


async def _follow(
    told: asyncio.Queue[bytes],
    order: Callable[[], Awaitable[None]],
    minutes: int,
    take: Callable[[bytes], None],
) -> None:
    """Repeat the order, and print what gateways report, until the time is over."""
    began = ordered = time.monotonic()
    until = began + minutes * 60
    silent = True
    await order()
    while (now := time.monotonic()) < until:
        if now >= ordered + REPEAT_S:
            ordered = now
            await order()
        try:
            payload = await asyncio.wait_for(told.get(), min(ordered + REPEAT_S, until) - now)
        except TimeoutError:
            if silent and now > began + SILENT_S:
                silent = False
                note("no gateway of the region has answered; is one running?")
            continue
        silent = False
        take(payload)


def _print(sealer: Sealer, channel: str, payload: bytes, as_json: bool) -> None:
    """Print what a worker tells.

    Raises:
        CommandError: it takes no more traces.
    """
    try:
        batch = tracing.open_batch(sealer, channel, payload)
    except (SealError, msgspec.DecodeError):
        note("something came that no gateway of this region sealed")
        return
    where = f"{batch.gateway} ({batch.where})"
    if batch.refused:
        raise CommandError(
            f"gateway {where} traces {MAX_TRACES} users already, and no more at a time",
            ExitCode.UNAVAILABLE,
        )
    if batch.sessions is not None:
        note(f"gateway {where} traces; sessions of the user there: {batch.sessions}")
    for line in batch.lines:
        if as_json:
            show({"gateway": batch.gateway} | _record(line), as_json)
        else:
            typer.echo(visible(_line(batch, line)))
    if batch.left_out:
        if as_json:
            show({"gateway": batch.gateway, "left_out": batch.left_out}, as_json)
        else:
            typer.echo(f"{batch.left_out} lines left out by gateway {where}")


def _record(line: Line) -> dict[str, object]:
    return {
        "time": line.ms,
        "session": line.session,
        "device": line.device,
        "way": line.way,
        "frame": line.frame,
        "number": line.number,
        "size": line.size,
        "code": line.code,
        "name": _code_name(line),
    }


def _code_name(line: Line) -> str:
    if line.code is None:
        return ""
    known = codes.CLOSES if line.frame == "close" else codes.ERRORS
    code = known.get(line.code)
    return code.name if code else ""


def _line(batch: TraceBatch, line: Line) -> str:
    moment = time.strftime("%H:%M:%S", time.localtime(line.ms / 1000))
    number = "" if line.number is None else f" #{line.number}"
    code = "" if line.code is None else f" {line.code} {_code_name(line)}".rstrip()
    size = f" {line.size} B" if line.size else ""
    return (
        f"{moment}.{line.ms % 1000:03} {line.way:<3} {line.frame}{number}{code}{size}"
        f"  {line.device} {line.session} on {batch.gateway}"
    )
