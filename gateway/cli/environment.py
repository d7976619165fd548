"""Which gateway a command is about, and the options that say so.

A configuration (``--config``, or HOMEPORT_* variables) or the folder of `homeport dev`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self

import msgspec
import structlog
import typer
from homeport.ids import group_of, is_app_id, is_user_id

from gateway.apps.app import App
from gateway.apps.regions import region_of
from gateway.cli.errors import CommandError, ExitCode
from gateway.cli.options import taking
from gateway.config import Settings, load_settings
from gateway.dev import datafolder
from gateway.dev.datafolder import DevState
from gateway.redis.errors import Unavailable
from gateway.runtime import logs

if TYPE_CHECKING:
    from gateway.store.admin import Admin


def _user(value: str | None) -> str | None:
    if value is not None and not is_user_id(value):
        raise typer.BadParameter("1 to 64 of A-Z a-z 0-9 . _ @ + -")
    return value


def _recipient(value: str | None) -> str | None:
    if value is not None and group_of(value) is not None:
        return value
    return _user(value)


def _app_id(value: str | None) -> str | None:
    if value is not None and not is_app_id(value):
        raise typer.BadParameter("an app id is 32 lower-case hex digits")
    return value


Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The gateway's TOML file; else HOMEPORT_*."),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The folder of `homeport dev`.  [.homeport]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
AppArgument = Annotated[str, typer.Argument(metavar="APP_ID", callback=_app_id)]
AppOption = Annotated[
    str | None,
    typer.Option("--app", metavar="ID", callback=_app_id, help="The app; else the dev app."),
]
User = Annotated[str, typer.Option("--user", metavar="USER", callback=_user)]
OptionalDevice = Annotated[
    str | None, typer.Option("--device", metavar="DEVICE", callback=_user, help="Only this one.")
]
user_id = _user
recipient = _recipient

_SHORT: Final = (
    "done, but {have} of {wanted} replicas have it so far: if the primary is lost before they do, "
    "it is undone. `homeport doctor` says when they are back (durability); if there is a failover "
    "before that, do it again"
)
_CLOCK: Final = (
    "clock_wrong: this machine's clock is {:+.1f} s from Redis', by which it was done; run NTP on "
    "both machines"
)


@dataclass(frozen=True, slots=True)
class Environment:
    """One gateway's settings; `dev` is the state of `homeport dev` where it is one of those."""

    settings: Settings
    dev: DevState | None = None
    folder: Path | None = None

    @classmethod
    def find(cls, config: Config = None, data: Data = None) -> Self:
        """What the options name, else what HOMEPORT_REDIS_URL is part of, else ``.homeport``.

        Raises:
            ConfigError, DevFolderError: it can't be read.
        """
        if config is not None or (data is None and "HOMEPORT_REDIS_URL" in os.environ):
            return cls(load_settings(config, {}))
        folder = (data or datafolder.DEFAULT).resolve()
        state = datafolder.load(folder)
        return cls(datafolder.settings(folder, state.redis_url), state, folder)

    @asynccontextmanager
    async def admin(self, *, writes: bool = True) -> AsyncIterator[Admin]:
        """The store's registry, for the time of one command. Says, at its end, if too few replicas
        have what was written, and if this machine's clock is wrong; a command that `writes` nothing
        needs no right to wait for them, and goes by no clock.

        Raises:
            KeyringError: the key file can't be used.
            OperationFailed: Redis is away, or another gateway's.
        """
        from gateway.runtime.core import Core  # not all commands need a store: half a second

        if not structlog.is_configured():  # but by `homeport dev`, whose log the link may be in
            logs.configure("critical", "console")  # a command says itself what went wrong
        core = Core.of(self.settings)
        try:
            async with core.admin(writes=writes) as admin:
                yield admin
                if admin.writes.short is not None:
                    wanted = core.promises.replicas
                    typer.echo(_SHORT.format(have=admin.writes.short, wanted=wanted), err=True)
                if writes and not admin.region.clock.right:
                    typer.echo(_CLOCK.format(admin.region.clock.wall_off_s), err=True)
        except Unavailable:
            if self.folder is None:
                raise
            raise CommandError(
                f"the store of {self.folder} does not answer; is `homeport dev` running?",
                ExitCode.UNAVAILABLE,
            ) from None

    def check_home(self, app_id: str) -> None:
        """An id names its region: say so, instead of looking for it where it can't be.

        Raises:
            CommandError: it is another region's.
        """
        home = region_of(app_id)
        if home is None or home.code != self.settings.region:
            where = f"region {home.code} ({home.city})" if home else "no region known here"
            raise CommandError(f"app {app_id} belongs to {where}, not to {self.settings.region}")

    def keep_certificate(self, app: App) -> None:
        """Note the dev app's new certificate, with which `send` and `listen` sign."""
        if self.dev is not None and self.folder is not None and app.id == self.dev.app_id:
            datafolder.save(
                self.folder, msgspec.structs.replace(self.dev, certificate=app.certificates[0])
            )

    def app_id(self, given: str | None) -> str:
        """The app a command is about.

        Raises:
            typer.BadParameter: none was given, and this is not a dev folder.
        """
        if given is not None:
            return given
        if self.dev is None:
            raise typer.BadParameter(
                "say which app; `homeport app list` shows them", param_hint="--app"
            )
        return self.dev.app_id


in_environment: Final = taking("environment", Environment.find)
"""Of a command that is about one gateway."""
