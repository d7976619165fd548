"""`homeport dev`: a gateway to try out, with everything it needs, in one folder."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from homeport.limits import PATH

from gateway.apps import api_keys
from gateway.apps import app as apps
from gateway.apps.app import App
from gateway.cli.environment import Environment
from gateway.cli.errors import CommandError
from gateway.config import Settings
from gateway.dev import certificates, datafolder
from gateway.dev.datafolder import DevFolderError, DevState
from gateway.dev.embedded import EmbeddedValkey, private_folder
from gateway.redis.errors import Unavailable
from gateway.security import tokens
from gateway.security.keyring import Keyring, KeyringMissing
from gateway.store.errors import RegionMissing

if TYPE_CHECKING:
    from gateway.runtime.starting import Listening

APP_NAME: Final = "dev"
Port = Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="0 takes a free one.")]


def dev(
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Where everything is kept between runs.")
    ] = datafolder.DEFAULT,
    port: Port = 8080,
    wss_port: Port = 8443,
    api_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="PORT", help="Of the REST API.  [after --port]"),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Use this Redis instead of an embedded Valkey."),
    ] = None,
) -> None:
    """Start a gateway to try out.

    It has a Valkey, an app, certificates and tokens of its own, in one folder. Prints two commands
    for two other terminals, and `ready` when everything accepts. Ctrl-C ends all of it; what was
    sent is kept in the folder.
    """
    # Here, because it takes a second, which the other commands need not wait for.
    import uvloop

    from gateway.runtime import logs

    signal.signal(signal.SIGTERM, _interrupt)  # until the gateway has handlers of its own
    folder = data.resolve()
    with ExitStack() as stack:
        if redis_url is None:
            valkey = stack.enter_context(EmbeddedValkey(folder))
            redis_url = valkey.url
        else:
            private_folder(folder)
        settings = datafolder.settings(
            folder,
            redis_url,
            f"127.0.0.1:{port}",
            f"127.0.0.1:{wss_port}",
            f"127.0.0.1:{_following(port) if api_port is None else api_port}",
        )
        try:
            Keyring.load(settings.key_file, settings.region)
        except KeyringMissing:
            Keyring.create(settings.key_file, settings.region)
        certificates.ensure(folder, datetime.now(UTC))
        logs.configure(settings.log_level, settings.log_format)
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        runner.run(_run(settings, folder))


def _following(port: int) -> int:
    """The port of the API where none was named."""
    return port + 1 if 0 < port < 65535 else 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


async def _run(settings: Settings, folder: Path) -> None:
    """Run the gateway, and once it listens, see to the app and say how to use it all."""
    from gateway.runtime import serving
    from gateway.runtime.api import WithApi

    await _begin(settings, folder)
    listening: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    gateway = asyncio.create_task(
        serving.serve(settings, on_ready=listening.set_result, kind=WithApi)
    )
    either: set[asyncio.Future[Any]] = {gateway, listening}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            # Only now: the gateway has made sure that this Redis is ours to write to.
            found, key, now_ms = await _dev_app(settings, folder)
            state = _state(settings, found, listening.result(), key)
            datafolder.save(folder, state)
            typer.echo(_welcome(folder, state, found, now_ms / 1000))
        await gateway
    finally:
        gateway.cancel()
        await asyncio.gather(gateway, return_exceptions=True)


async def _begin(settings: Settings, folder: Path) -> None:
    """Begin the region, or say at once that its data is gone: a gateway would wait for it."""
    try:
        async with Environment(settings).admin() as admin:
            await admin.region.begin()
    except Unavailable:
        pass  # the gateway says so, and waits
    except RegionMissing as error:
        raise CommandError(
            f"the Redis of {folder} is empty, and what was kept in it is lost: put it back, or "
            f"remove {settings.key_file} to begin anew"
        ) from error


async def _dev_app(settings: Settings, folder: Path) -> tuple[App, str, int]:
    """The app of earlier runs, or a new one; a key for its back end; and the region's time, in ms
    since 1970."""
    async with Environment(settings).admin() as admin:
        now_ms = await admin.region.now_ms()
        app = next((each for each in await admin.apps.all() if each.name == APP_NAME), None)
        if app is None:
            app = apps.create_app(APP_NAME, settings.region, "pro", "global", now_ms)
            await admin.apps.create(app, now_ms)
        with suppress(DevFolderError):
            key = datafolder.load(folder).api_key
            if api_keys.find(app.api_keys, key) is not None:
                return app, key, now_ms
        if len(app.api_keys) == api_keys.MAX_KEYS:
            await admin.apps.delete_api_key(app.id, app.api_keys[0].id, now_ms)
        key, kept = api_keys.new_key(app.region, app.id, APP_NAME, api_keys.SCOPES, now_ms)
        return await admin.apps.add_api_key(app.id, kept, now_ms), key, now_ms


def _state(settings: Settings, found: App, listening: Listening, key: str) -> DevState:
    return DevState(
        app_id=found.id,
        certificate=found.certificates[0],
        redis_url=settings.redis_url,
        plain_url=f"ws://{listening.plain}{PATH}",
        wss_url=f"wss://{listening.wss}{PATH}",
        api_url=f"http://{listening.all_api[0]}",
        api_key=key,
    )


def _welcome(folder: Path, state: DevState, found: App, now_s: float) -> str:
    """What a newcomer needs. The commands are absolute: a new terminal may start anywhere."""
    program = str(Path(sys.executable).with_name("homeport"))
    where = ["--data", str(folder)]
    listen = shlex.join([program, "listen", "--as", "bob", *where])
    send = shlex.join([program, "send", "--as", "alice", "--to", "bob", "Hello, Bob!", *where])
    alice, bob = (
        tokens.mint(found.id, state.certificate, found.region, user, now_s, found.max_token_s)
        for user in ("alice", "bob")
    )
    return f"""\
App ID     {found.id} (region {found.region}, tier {found.tier.name})
Token of   alice  {alice}
Token of   bob    {bob}
Plain      {state.plain_url}
WSS        {state.wss_url}
API        {state.api_url}
API key    {state.api_key}
CA file    {datafolder.ca_file(folder)}
Data       {folder}

In a second terminal:
  {listen}
In a third one:
  {send}

ready"""
