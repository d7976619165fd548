"""The worker: one gateway process, put together here, on `gateway.runtime.core`.

What happens on the way up, in order: keys, Redis and its stamp, pub/sub, listeners, ready. On the
way down: listeners, goaway, open sends, close, acknowledgements, Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.address import Address
from gateway.apps.app import App
from gateway.chat.framing import Framing
from gateway.chat.limits import Limits
from gateway.clock import Clock
from gateway.config import Settings, Source
from gateway.hub.hub import Hub
from gateway.hub.hubs import Hubs
from gateway.hub.presence import PresenceHub
from gateway.hub.rooms import RoomHub
from gateway.net.listener import Listener
from gateway.net.origins import Origins
from gateway.net.tls import Certificate, TLSError
from gateway.net.upgrade import Upgrades
from gateway.redis.errors import NotDurable, OperationFailed, Unavailable
from gateway.redis.guard import Call
from gateway.redis.promises import LOOK_EVERY_S
from gateway.runtime.chat import Stores, chat_of
from gateway.runtime.core import Core
from gateway.runtime.drain import Drain
from gateway.runtime.measures import Measures
from gateway.runtime.probe import Probe
from gateway.runtime.recovery import Recovery
from gateway.runtime.reload import Reloading
from gateway.runtime.report import Reporter
from gateway.runtime.rotation import LiveKeyring
from gateway.runtime.starting import Listening, StartError, cannot_listen
from gateway.runtime.status import Status
from gateway.security.keyring import KeyringError
from gateway.session.app_limit import AppLimit
from gateway.session.connecting import Connector
from gateway.session.counts import Counts
from gateway.session.entrance import Entrance
from gateway.session.handshake import Handshake
from gateway.session.inboxes import SessionInboxes
from gateway.session.notes import SessionNotes
from gateway.session.session import Session
from gateway.session.sessions import Sessions
from gateway.session.timing import Timing
from gateway.session.tracing import Tracer
from gateway.store.directory import REFRESH_S, AppDirectory
from gateway.store.errors import StampError
from gateway.store.headcount import Headcount
from gateway.store.presence import GATEWAY_CHARS, PresenceStore
from gateway.store.region_clock import TIME, RegionClock
from gateway.store.sweeper import Sweeper
from gateway.tasks import Tasks
from gateway.wheel import RESOLUTION_S, Wheel

_log = structlog.get_logger()


class Worker:
    """One gateway in this process: `start` it, and `stop` it however far it came.

    `folder` is the run folder of the supervisor, which calls this worker `name`: the workers share
    their addresses, and report to the ops process if there is one. `source` is where `settings`
    come from, to be read again. The caller of `start` watches the `tasks`.
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
        self._settings = settings
        self._tasks = tasks or Tasks()
        region_clock = RegionClock()
        self._clock = clock or Clock(wall=region_clock.now)
        # A clock that is passed in is not compared with Redis': a test holds it still.
        self._region_clock = region_clock if clock is None else None
        self.status = Status()
        try:
            core = Core.of(settings)
            now = datetime.fromtimestamp(self._clock.wall(), UTC)
            self._certificate = Certificate.of(settings, now)
        except (KeyringError, TLSError, OSError) as error:
            raise StartError(str(error)) from error
        self._keys = core.keys
        self._link, self._subscriber = core.open_redis(self._tasks)
        self._directory = AppDirectory(
            self._link, core.keys, core.sealer, self._tasks, self._app_deleted, self._app_changed
        )
        self.framing = Framing(core.sealer, self._directory, self._clock.wall_ms)
        stores = Stores.of(self._link, core.keys, self._clock)
        self._sweeper = Sweeper(
            self._link,
            core.keys,
            self._directory,
            stores.groups,
            self._clock.wall_ms,
            lambda: self._region_clock is None or self._region_clock.trusted,
        )
        self.gateway = secrets.token_hex(GATEWAY_CHARS // 2)
        where = f"{socket.gethostname()} {name}".rstrip()
        headcount = Headcount()
        presence = PresenceStore(self._link, core.keys, self.gateway, headcount, where)
        timing = Timing(self._clock, Wheel(self._clock.steady()), settings.heartbeat_s)
        self._wheel = timing.wheel
        self._hubs = self._open_hubs(stores, presence)
        self._recovery = Recovery(self._hubs, self._directory, core.keys, self._tasks)

        # Sessions, and their connections.
        limits = Limits(stores.rates, self._clock)
        chat = chat_of(stores, presence, self.framing, self._hubs, limits, self._clock)
        notes = SessionNotes(Counts(), core.sealer.names)
        self._tracer = Tracer(
            core.keys,
            self._link,
            core.sealer,
            self._clock,
            gateway=(self.gateway, where),
            sessions=self._sessions_of,
        )
        handshake = Handshake(settings.region, settings.directory, self._directory)
        app_limit = AppLimit(headcount, presence.tell)
        entrance = Entrance(handshake, limits, app_limit, self._tracer, self._hubs)
        inboxes = SessionInboxes(stores.inboxes, self.framing.records, self._directory, self._clock)
        connector = Connector(entrance, inboxes, chat, notes, timing, self._tasks)
        sessions = Sessions(entrance, notes, timing, connector, self.gateway)
        origins = Origins(settings.origins, settings.allow_missing_origin)
        upgrades = Upgrades(origins, notes.counts)
        self._listener = Listener(sessions, timing, upgrades, settings, shared=folder is not None)
        self._drain = Drain(self._listener, self.status, settings.drain_s)

        # What changes while it runs.
        if self._certificate is not None:
            self._certificate.adopt = self._listener.use_certificate
        self._live = LiveKeyring(
            core.keyring, settings.key_file, core.sealer, core.stamp, self._link, self._clock
        )
        parts = {
            "origins": origins.adopt,
            "directory": handshake.adopt,
            "protection": self._listener.adopt,
        }
        self.reloading = Reloading(
            settings, source, self._certificate, self._live, parts, self._clock
        )

        # What it tells.
        self._chores: list[asyncio.Task[None]] = []
        self._reporter: Reporter | None = None
        self._probe: Probe | None = None
        if folder is not None and settings.ops_listen is not None:
            measures = Measures(
                counts=notes.counts,
                inboxes=stores.inboxes,
                logs=stores.logs,
                link=self._link,
                sweeper=self._sweeper,
                send_to_push=self.framing.send_to_push,
                listener=self._listener,
                recovery=self._recovery,
                keyring=self._live,
                reloading=self.reloading,
                certificate=self._certificate,
                wall=self._clock.wall,
                clock=region_clock,
                promises=core.promises,
                failing=lambda: self._probe.failing if self._probe is not None else "",
            )
            self._reporter = Reporter(
                folder, name, self.status, self._tasks, measures.numbers, region_clock
            )
            self._probe = Probe(
                self._link,
                self._subscriber,
                lambda bucket: core.keys.probe(bucket, self.gateway),
                core.sealer,
                self._clock,
                self._reporter.round_trip,
            )

    def _open_hubs(self, stores: Stores, presence: PresenceStore) -> Hubs:
        framing, subscriber = self.framing, self._subscriber
        users = Hub(subscriber, stores.inboxes, framing.pushed, self._tasks)
        return Hubs(
            users=users,
            rooms=RoomHub(
                subscriber, stores.rooms, users.find, framing.in_room, self._clock.wall_ms
            ),
            presence=PresenceHub(
                subscriber, presence, users.find, framing.status, self._clock, self._wheel
            ),
        )

    async def start(self) -> Listening:
        """Connect to Redis, check that it is ours, and listen."""
        if self._region_clock is not None:
            self._link.on_greet = self._learn_time
        self._link.on_up = self._recovery.link_is_back
        self._subscriber.on_up = self._recovery.pubsub_is_back
        self._subscriber.on_missed = self._recovery.channels_are_back
        if self._reporter is not None and self._probe is not None:
            reporting = self._reporter.run(self._probe)
            self._chores.append(self._tasks.keep(reporting, "report"))
        try:
            await self._link.start()
            await self._subscriber.start()
            await self._subscriber.subscribe(self._keys.apps_channel, self._directory)
            await self._subscriber.subscribe(self._tracer.channel, self._tracer)
        except (StampError, NotDurable) as error:
            raise StartError(str(error)) from error
        if self._region_clock is not None:
            timing = self._region_clock.run(self._ask_time)
            self._chores.append(self._tasks.keep(timing, "clock"))
        await self._hubs.presence.renew()  # before anybody is here
        if self._probe is not None:
            self._chores.append(self._tasks.keep(self._probe.run(), "probe"))
        self._chores += [
            self._tasks.keep(self._turn_wheel(), "wheel"),
            self._tasks.keep(self._sweeper.run(), "sweeper"),
            self._tasks.keep(self._refresh_apps(), "apps"),
            self._tasks.keep(self._look(), "look"),
            self._tasks.keep(self._hubs.rooms.run(), "rooms"),
            self._tasks.keep(self._hubs.presence.run(), "presence"),
            self._tasks.keep(self.reloading.run(), "reload"),
        ]
        listening = Listening(
            self._listen(self._settings.wss_listen, secure=True),
            self._listen(self._settings.plain_listen, secure=False),
        )
        self.status.state = "ready"
        return listening

    def _listen(self, where: str | None, secure: bool) -> tuple[Address, ...]:
        settings = self._settings
        tls = self._certificate.context if secure and self._certificate else None
        proxied = settings.wss_proxy_protocol if secure else settings.plain_proxy_protocol
        found = []
        for address in Address.parse_all(where):
            try:
                found.append(self._listener.listen(address, tls, proxied=proxied))
            except OSError as error:
                raise cannot_listen(str(address), error) from error
        return tuple(found)

    def hurry(self) -> None:
        """The drain that goes on, or is to come, must be over at once."""
        self._drain.hurry()

    async def stop(self) -> None:
        """Drain: see the module's order. Takes at most the `drain_s` of the settings."""
        await self._drain.run()
        for chore in self._chores:
            self._tasks.dismiss(chore)
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self._tasks.end_spawned()
        self._hubs.rooms.close()
        with contextlib.suppress(OperationFailed, TimeoutError):
            async with asyncio.timeout(0.1 * self._settings.drain_s):
                await self._hubs.presence.aclose()
                # The last acknowledgements stand before this in the line.
                await asyncio.gather(*self._link.everywhere("PING"), return_exceptions=True)
        await self._subscriber.aclose()
        await self._link.aclose()
        if self._reporter is not None:
            self._reporter.close()
        _log.info("stopped")

    # -- what the parts ask ----------------------------------------------------------------------

    def _app_changed(self, app: App) -> None:
        self._hubs.users.app_changed(app)

    def _sessions_of(self, app_id: str, user: str) -> list[Session]:
        sessions = self._hubs.users.of_user(app_id, user)
        return [session for session in sessions if isinstance(session, Session)]

    def _app_deleted(self, app_id: str) -> None:
        self._hubs.users.app_deleted(app_id)

    # -- chores ----------------------------------------------------------------------------------

    def _ask_time(self) -> Sequence[Awaitable[object]]:
        link, keys = self._link, self._keys
        return [link.run(TIME, (keys.clock(bucket),), "") for bucket in link.places()]

    async def _learn_time(self, ask: Call, bucket: int | None) -> None:
        """Redis may be another server, with another clock, after each connect."""
        assert self._region_clock is not None
        known = self._region_clock.known
        key = self._keys.stamp_clock if bucket is None else self._keys.clock(bucket)
        await self._region_clock.measure(
            lambda: [ask("EVALSHA", TIME.sha, 1, key, "leave nothing")]
        )
        if not self._region_clock.known:
            raise Unavailable("time_unknown")
        if not known:
            self._live.begin()  # before the stamp is held against the keys that are in use now

    async def _turn_wheel(self) -> None:
        while True:
            await asyncio.sleep(RESOLUTION_S)
            self._wheel.advance(self._clock.steady())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with contextlib.suppress(Unavailable):  # the next connect looks
                await self._link.look()

    async def _refresh_apps(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await self._directory.reload_all()
