"""The worker: one gateway process, put together here, on `gateway.runtime.core`.

What happens on the way up, in order: keys, Redis and its stamp, pub/sub, listeners, ready. On the
way down: listeners, goaway, open sends, close, acknowledgements, Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gateway.clock import Clock
from gateway.config import Settings, Source
from gateway.net.tls import Certificate, TLSError
from gateway.redis.errors import NotDurable, OperationFailed
from gateway.runtime.backend import Backend
from gateway.runtime.core import Core
from gateway.runtime.door import WebSocketDoor
from gateway.runtime.drain import Drain
from gateway.runtime.measures import Measures
from gateway.runtime.probe import Probe
from gateway.runtime.recovery import Recovery
from gateway.runtime.reload import Reloading
from gateway.runtime.report import Reporter
from gateway.runtime.rotation import LiveKeyring
from gateway.runtime.starting import Listening, StartError
from gateway.runtime.status import Status
from gateway.runtime.timekeeping import Timekeeping
from gateway.security.keyring import KeyringError
from gateway.session.timing import Timing
from gateway.store.errors import StampError
from gateway.store.region_clock import RegionClock
from gateway.store.sweeper import Sweeper, keep_settling
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway.hooks.dispatcher import Dispatcher
    from gateway.hooks.sender import Sender

_log = structlog.get_logger()


class Worker:
    """One gateway in this process: `start` it, and `stop` it however far it came.

    `folder` is the run folder of the supervisor, which calls this worker `name`: the workers share
    their addresses, and report to the ops process if there is one. `source` is where `settings`
    come from, to be read again. The caller of `start` watches the `tasks`. A `clock` that is given
    is believed, and not compared with Redis': a test holds it still.
    """

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
        self._folder = folder
        self._hooks: tuple[Dispatcher, Sender] | None = None
        self._tasks = tasks or Tasks()
        self._chores: list[asyncio.Task[None]] = []
        region_clock = RegionClock()
        self._timing = Timing.by(clock or Clock(wall=region_clock.now), settings.heartbeat_s)
        clock_agrees = (lambda: region_clock.trusted) if clock is None else (lambda: True)

        core, certificate = _read_files(settings, self._timing.clock)
        self._backend = backend = Backend(core, self._timing, self._tasks, name)
        self._door = door = WebSocketDoor(
            backend, settings, certificate, self._timing, self._tasks, shared=folder is not None
        )
        self._drain = Drain(door.listener, self.status, settings.drain_s)

        self._live = LiveKeyring(core, settings.key_file, backend.link, self._timing.clock)
        self.reloading = Reloading(
            settings, source, certificate, self._live, door.parts, self._timing.clock
        )
        self._timekeeping = (
            Timekeeping(region_clock, backend.link, core.keys, self._live.begin)
            if clock is None
            else None
        )
        self._recovery = Recovery(backend.hubs, backend.directory, core.keys, self._tasks)
        self._sweeper = Sweeper(
            backend.link,
            core.keys,
            backend.directory,
            backend.stores.conversations,
            backend.stores.inboxes,
            backend.stores.groups,
            clock_ms=self._timing.clock.wall_ms,
            trusted=clock_agrees,
        )
        self._reporter: Reporter | None = None
        self._probe: Probe | None = None
        if folder is not None and settings.ops_listen is not None:
            self._tell_ops(folder, name, certificate, region_clock)

    def _tell_ops(
        self, folder: Path, name: str, certificate: Certificate | None, region_clock: RegionClock
    ) -> None:
        """Have a reporter, and the probe that it tells of."""
        backend, clock = self._backend, self._timing.clock
        measures = Measures(
            counts=self._door.counts,
            conversations=backend.stores.conversations,
            inboxes=backend.stores.inboxes,
            link=backend.link,
            sweeper=self._sweeper,
            send_to_push=backend.framing.send_to_push,
            listener=self._door.listener,
            recovery=self._recovery,
            keyring=self._live,
            reloading=self.reloading,
            certificate=certificate,
            wall=clock.wall,
            clock=region_clock,
            promises=backend.core.promises,
            failing=lambda: probe.failing,
        )
        self._reporter = Reporter(
            folder, name, self.status, self._tasks, measures.numbers, region_clock
        )
        self._probe = probe = Probe(
            backend.link,
            backend.subscriber,
            lambda bucket: backend.core.keys.probe(bucket, backend.gateway),
            backend.core.sealer,
            clock,
            self._reporter.round_trip,
        )

    @property
    def gateway(self) -> str:
        """The id of this process, which ends the ids of its sessions."""
        return self._backend.gateway

    async def start(self) -> Listening:
        """Connect to Redis, check that it is ours, and listen.

        Raises:
            StartError: this Redis must not be used, or an address can't be had.
        """
        if self._reporter is not None and self._probe is not None:
            self._keep("report", self._reporter.run(self._probe))
        await self._connect()
        presence, rooms = self._backend.hubs.presence, self._backend.hubs.rooms
        await presence.lease.renew()  # before anybody is here
        if self._timekeeping is not None:
            self._keep("clock", self._timekeeping.run())
        if self._probe is not None:
            self._keep("probe", self._probe.run())
        self._keep("wheel", self._timing.run())
        self._keep("sweeper", self._sweeper.run())
        conversations, now_ms = self._backend.stores.conversations, self._timing.clock.wall_ms
        self._keep("settling", keep_settling(conversations, now_ms))
        self._keep("apps", self._backend.directory.run())
        self._keep("look", self._backend.link.keep_looking())
        self._keep("rooms", rooms.run())
        self._keep("lease", presence.lease.run())
        self._keep("reload", self.reloading.run())
        if self._folder is None:  # a process that is a whole gateway sends its webhooks, too
            self._send_webhooks()
        listening = self._door.listen()
        self.status.state = "ready"
        return listening

    def _send_webhooks(self) -> None:
        # Here, because a worker beside others needs nothing of it.
        from gateway.runtime.hooks import dispatcher_of

        backend = self._backend
        self._hooks = dispatcher_of(
            self._settings,
            backend.core,
            backend.link,
            backend.directory,
            self._timing.clock,
            self._tasks,
        )
        self._keep("webhooks", self._hooks[0].run())

    async def _connect(self) -> None:
        backend, recovery = self._backend, self._recovery
        link, subscriber, tracer = backend.link, backend.subscriber, self._door.tracer
        link.on_up = recovery.link_is_back
        subscriber.on_up = recovery.pubsub_is_back
        subscriber.on_missed = recovery.channels_are_back
        try:
            await link.start()
            await subscriber.start()
            await subscriber.subscribe(backend.core.keys.apps_channel, backend.directory)
            await subscriber.subscribe(tracer.channel, tracer)
        except (StampError, NotDurable) as error:
            raise StartError(str(error)) from error

    def _keep(self, name: str, chore: Coroutine[None, None, None]) -> None:
        """Do `chore` until `stop`; see `Tasks.keep`."""
        self._chores.append(self._tasks.keep(chore, name))

    def hurry(self) -> None:
        """The drain that goes on, or is to come, must be over at once."""
        self._drain.hurry()

    async def stop(self) -> None:
        """Drain: see the module's order. Takes at most the `drain_s` of the settings."""
        backend = self._backend
        await self._drain.run()
        for chore in self._chores:
            self._tasks.dismiss(chore)
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self._tasks.end_spawned()
        backend.hubs.rooms.close()
        with contextlib.suppress(OperationFailed, TimeoutError):
            async with asyncio.timeout(0.1 * self._settings.drain_s):
                await backend.hubs.presence.aclose()
                if self._hooks is not None:
                    await self._hooks[0].aclose()
                await backend.stores.conversations.fanout.settle(self._timing.clock.wall_ms())
                await backend.stores.storage.settle()
                # The last acknowledgements stand before this in the line.
                await asyncio.gather(*backend.link.everywhere("PING"), return_exceptions=True)
        if self._hooks is not None:
            await self._hooks[1].aclose()
        await backend.subscriber.aclose()
        await backend.link.aclose()
        if self._reporter is not None:
            self._reporter.close()
        _log.info("stopped")


def _read_files(settings: Settings, clock: Clock) -> tuple[Core, Certificate | None]:
    """The region by its key file, and the certificate if there is to be one.

    Raises:
        StartError: a file can't be used.
    """
    try:
        now = datetime.fromtimestamp(clock.wall(), UTC)
        return Core.of(settings), Certificate.of(settings, now)
    except (KeyringError, TLSError, OSError) as error:
        raise StartError(str(error)) from error
