"""What each process that serves is built on: the region, its Redis, its time, and its files.

`gateway.runtime.worker` makes a gateway's worker of it, `gateway.runtime.api` a process of the REST
API, and `gateway.runtime.hooks` the one that sends webhooks.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.clock import Clock
from gateway.config import Settings, Source
from gateway.net.tls import Certificate, TLSError
from gateway.ops.datagrams import Numbers
from gateway.redis.errors import NotDurable, OperationFailed
from gateway.runtime.backend import Backend
from gateway.runtime.core import Core
from gateway.runtime.probe import Probe
from gateway.runtime.reload import Part, Reloading
from gateway.runtime.report import Reporter
from gateway.runtime.rotation import LiveKeyring
from gateway.runtime.starting import Listening, StartError
from gateway.runtime.status import Status
from gateway.runtime.timekeeping import Timekeeping
from gateway.security.keyring import KeyringError
from gateway.session.timing import Timing
from gateway.store.errors import StampError
from gateway.store.region_clock import RegionClock
from gateway.store.sweeper import keep_settling
from gateway.tasks import Tasks

_log = structlog.get_logger()


class Process(ABC):
    """Serves in this process: `start` it, and `stop` it however far it came.

    `folder` is the run folder of the supervisor, which calls this process `name`: processes of one
    kind share their addresses, and report to the ops process if there is one. `source` is where
    `settings` come from, to be read again. The caller of `start` watches the `tasks`. A `clock`
    that is given is believed, and not compared with Redis': a test holds it still.
    """

    reloading: Reloading
    """Keeps the settings as the files say."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        *,
        folder: Path | None = None,
        source: Source | None = None,
        name: str = "",
        tasks: Tasks | None = None,
    ) -> None:
        self.status = Status()
        self._settings = settings
        self._given_clock = clock
        self._folder = folder
        self._source = source
        self._name = name
        self._tasks = tasks or Tasks()
        self._chores: list[asyncio.Task[None]] = []
        self._region_clock = region_clock = RegionClock()
        self._timing = Timing.by(clock or Clock(wall=region_clock.now), settings.heartbeat_s)
        self._clock_agrees: Callable[[], bool] = (
            (lambda: region_clock.trusted) if clock is None else (lambda: True)
        )
        core, self._certificate = self._read_files()
        self._backend = backend = Backend(core, self._timing, self._tasks, name)
        self._live = LiveKeyring(core, settings.key_file, backend.link, self._timing.clock)
        self._timekeeping = (
            Timekeeping(region_clock, backend.link, core.keys, self._live.begin)
            if clock is None
            else None
        )
        self._reporter: Reporter | None = None
        self._probe: Probe | None = None
        self._build()

    @abstractmethod
    def _build(self) -> None:
        """Make what this kind of process consists of besides. Nothing is connected yet, and what
        the link knows by the time it connects are the scripts that Redis is given."""

    @staticmethod
    @abstractmethod
    def certificate_of(settings: Settings, now: datetime) -> Certificate | None:
        """What this kind of process shows where it speaks TLS. Raises `TLSError`."""

    @abstractmethod
    async def serve(self) -> Listening:
        """Begin what this kind of process does; Redis and the time are there.

        Raises:
            StartError: an address can't be had.
        """

    @abstractmethod
    async def drain(self) -> None:
        """Stop accepting, and bring what is under way to its end."""

    @abstractmethod
    def hurry(self) -> None:
        """The drain that goes on, or is to come, must be over at once."""

    @abstractmethod
    async def settle(self) -> None:
        """Leave in Redis what must be there. Nobody comes any more."""

    @property
    def gateway(self) -> str:
        """The id of this process, which ends the ids of its sessions."""
        return self._backend.gateway

    async def start(self) -> Listening:
        """Connect to Redis, check that it is ours, and serve.

        Raises:
            StartError: this Redis must not be used, or an address can't be had.
        """
        backend, now_ms = self._backend, self._timing.clock.wall_ms
        if self._reporter is not None and self._probe is not None:
            self._keep("report", self._reporter.run(self._probe))
        try:
            await backend.link.start()
            await backend.subscriber.start()
            await backend.subscriber.subscribe(backend.core.keys.apps_channel, backend.directory)
        except (StampError, NotDurable) as error:
            raise StartError(str(error)) from error
        if self._timekeeping is not None:
            self._keep("clock", self._timekeeping.run())
        if self._probe is not None:
            self._keep("probe", self._probe.run())
        self._keep("wheel", self._timing.run())
        self._keep("settling", keep_settling(backend.stores.conversations, now_ms))
        self._keep("apps", backend.directory.run())
        self._keep("look", backend.link.keep_looking())
        self._keep("reload", self.reloading.run())
        listening = await self.serve()
        self.status.state = "ready"
        return listening

    async def stop(self) -> None:
        """Drain, and leave. Takes at most the `drain_s` of the settings."""
        backend = self._backend
        await self.drain()
        for chore in self._chores:
            self._tasks.dismiss(chore)
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self._tasks.end_spawned()
        with contextlib.suppress(OperationFailed, TimeoutError):
            async with asyncio.timeout(0.1 * self._settings.drain_s):
                await self.settle()
                await backend.stores.conversations.fanout.settle(self._timing.clock.wall_ms())
                await backend.stores.storage.settle()
                # What was written last stands before this in the line.
                await asyncio.gather(*backend.link.everywhere("PING"), return_exceptions=True)
        await backend.subscriber.aclose()
        await backend.link.aclose()
        if self._reporter is not None:
            self._reporter.close()
        if self.status.state == "draining":
            _log.info("stopped")

    # -- for the kinds -----------------------------------------------------------------------------

    def _keep(self, name: str, chore: Coroutine[None, None, None]) -> None:
        """Do `chore` until `stop`; see `Tasks.keep`."""
        self._chores.append(self._tasks.keep(chore, name))

    def _reload(self, parts: Mapping[str, Part]) -> None:
        """Have the settings followed, which `parts` take up."""
        self.reloading = Reloading(
            self._settings,
            self._source,
            self._certificate,
            self._live,
            parts,
            self._timing.clock,
        )

    def _report(self, measure: Callable[[], Numbers]) -> None:
        """Report to the ops process, if there is one: what `measure` counts, and how a probe of the
        way through Redis fares."""
        if self._folder is None or self._settings.ops_listen is None:
            return
        backend, name = self._backend, self._name
        self._reporter = Reporter(
            self._folder, name, self.status, self._tasks, measure, self._region_clock
        )
        self._probe = Probe(
            backend.link,
            backend.subscriber,
            lambda bucket: backend.core.keys.probe(bucket, backend.gateway),
            backend.core.sealer,
            self._timing.clock,
            self._reporter.round_trip,
        )

    def _failing(self) -> str:
        return self._probe.failing if self._probe is not None else ""

    def _read_files(self) -> tuple[Core, Certificate | None]:
        """The region by its key file, and the certificate if there is to be one.

        Raises:
            StartError: a file can't be used.
        """
        try:
            now = datetime.fromtimestamp(self._timing.clock.wall(), UTC)
            return Core.of(self._settings), self.certificate_of(self._settings, now)
        except (KeyringError, TLSError, OSError) as error:
            raise StartError(str(error)) from error
