"""The worker: one gateway process, put together here and nowhere else.

What happens on the way up, in order: keys, Redis and its stamp, pub/sub, listeners, ready. On the
way down: listeners, goaway, open sends, close, acknowledgements, Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Awaitable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gateway.address import Address
from gateway.apps.app import App
from gateway.chat.addressing import Conversations
from gateway.chat.blocking import BlockChat
from gateway.chat.chat import Chat
from gateway.chat.framing import Framing
from gateway.chat.groups import GroupChat
from gateway.chat.history import HistoryChat
from gateway.chat.limits import Limits
from gateway.chat.presence import PresenceChat
from gateway.chat.principal import Principals
from gateway.chat.recalls import RecallChat
from gateway.chat.receipts import ReceiptChat
from gateway.chat.relay import Relay
from gateway.chat.rooms import RoomChat
from gateway.chat.sending import MessageChat
from gateway.chat.signals import SignalChat
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
from gateway.redis.opening import open_redis
from gateway.redis.promises import LOOK_EVERY_S, Promises
from gateway.runtime.drain import Drain
from gateway.runtime.measures import Measures
from gateway.runtime.probe import Probe
from gateway.runtime.reload import Reloading
from gateway.runtime.report import Reporter
from gateway.runtime.rotation import LiveKeyring
from gateway.runtime.starting import Listening, StartError, cannot_listen
from gateway.runtime.status import Status
from gateway.security.keyring import Keyring, KeyringError
from gateway.security.sealing import Sealer
from gateway.session.app_limit import AppLimit
from gateway.session.connecting import Connector
from gateway.session.counts import Counts
from gateway.session.entrance import Entrance
from gateway.session.handshake import Handshake
from gateway.session.inboxes import SessionInboxes
from gateway.session.lines import Lines
from gateway.session.notes import SessionNotes
from gateway.session.session import Session
from gateway.session.sessions import Sessions
from gateway.session.timing import Timing
from gateway.session.tracing import Tracer
from gateway.store.blocks import BlockStore
from gateway.store.directory import REFRESH_S, AppDirectory
from gateway.store.errors import StampError
from gateway.store.groups import GroupStore
from gateway.store.headcount import Headcount
from gateway.store.inbox import InboxStore
from gateway.store.keys import Keys
from gateway.store.log import LogStore
from gateway.store.presence import GATEWAY_CHARS, PresenceStore
from gateway.store.rates import RateStore
from gateway.store.receipts import ReceiptStore
from gateway.store.region_clock import TIME, RegionClock
from gateway.store.replacing import RewriteStore
from gateway.store.rooms import RoomStore
from gateway.store.stamp import Stamp
from gateway.store.sweeper import Sweeper
from gateway.tasks import Tasks, nothing_to_undo
from gateway.wheel import RESOLUTION_S, Wheel

_log = structlog.get_logger("worker")


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
            keyring = Keyring.load(settings.key_file, settings.region)
            now = datetime.fromtimestamp(self._clock.wall(), UTC)
            self._certificate = Certificate.of(settings, now)
        except (KeyringError, TLSError, OSError) as error:
            raise StartError(str(error)) from error
        sealer = Sealer(keyring)
        self._keys = keys = Keys(settings.region)
        promises = Promises(
            replicas=settings.replicas if settings.durability == "replica" else 0,
            fsync=settings.durability == "fsync",
            allow_eviction=settings.allow_eviction,
        )
        mark = Stamp.of(keyring)
        self._link, self._subscriber = open_redis(
            settings.redis_url,
            mark,
            self._tasks,
            promises,
        )
        self._apps_channel = keys.apps_channel
        inboxes = InboxStore(self._link, keys)
        logs = LogStore(self._link, keys)
        blocks = BlockStore(self._link, keys)
        self._directory = AppDirectory(
            self._link, keys, sealer, self._tasks, self._app_deleted, self._app_changed
        )
        self.framing = framing = Framing(sealer, self._directory, self._clock.wall_ms)
        records = framing.records
        self._hub = Hub(self._subscriber, inboxes, framing.pushed, self._tasks)
        room_store = RoomStore(self._link, keys)
        self._rooms = RoomHub(
            self._subscriber, room_store, self._hub.find, framing.in_room, self._clock.wall_ms
        )
        self._wheel = Wheel(self._clock.steady())
        self.gateway = gateway = secrets.token_hex(GATEWAY_CHARS // 2)
        headcount = Headcount()
        where = f"{socket.gethostname()} {name}".rstrip()
        presence_store = PresenceStore(self._link, keys, gateway, headcount, where)
        self._presence = PresenceHub(
            self._subscriber,
            presence_store,
            self._hub.find,
            framing.status,
            self._clock,
            self._wheel,
        )
        groups = GroupStore(self._link, keys, inboxes, self._clock.wall_ms)
        self._sweeper = Sweeper(
            self._link,
            keys,
            self._directory,
            groups,
            self._clock.wall_ms,
            lambda: self._region_clock is None or self._region_clock.trusted,
        )
        limits = Limits(RateStore(self._link, keys), self._clock)
        now_ms = self._clock.wall_ms
        relay = Relay(inboxes, room_store, groups, records, now_ms)
        conversations = Conversations(groups)
        group_chat = GroupChat(groups, inboxes, logs, records, now_ms)
        room_chat = RoomChat(room_store, framing.room_records, self._rooms, now_ms)
        chat = Chat(
            principals=Principals(limits, blocks),
            messages=MessageChat(inboxes, records, relay, group_chat, room_chat, clock_ms=now_ms),
            signals=SignalChat(relay, groups),
            groups=group_chat,
            rooms=room_chat,
            blocks=BlockChat(blocks, now_ms),
            presence=PresenceChat(presence_store, framing.statuses, self._presence, now_ms),
            history=HistoryChat(logs, conversations, records, now_ms),
            recalls=RecallChat(
                RewriteStore(self._link, keys), inboxes, conversations, records, now_ms
            ),
            receipts=ReceiptChat(ReceiptStore(self._link, keys), relay, conversations, now_ms),
        )
        handshake = Handshake(settings.region, settings.directory, self._directory)
        lines = Lines(sealer.names)
        self._tracer = Tracer(
            keys,
            self._link,
            sealer,
            self._clock,
            lines,
            gateway=(gateway, where),
            sessions=self._sessions_of,
        )
        hubs = Hubs(self._hub, self._rooms, self._presence)
        app_limit = AppLimit(headcount, presence_store.tell)
        entrance = Entrance(handshake, limits, app_limit, self._tracer, hubs)
        timing = Timing(self._clock, self._wheel, settings.heartbeat_s)
        counts = Counts()
        notes = SessionNotes(counts, lines)
        session_inboxes = SessionInboxes(inboxes, records, self._directory, self._clock)
        connector = Connector(entrance, session_inboxes, chat, notes, timing, self._tasks)
        sessions = Sessions(entrance, notes, timing, connector, gateway)
        origins = Origins(settings.origins, settings.allow_missing_origin)
        self._listener = Listener(
            sessions, timing, Upgrades(origins, counts), settings, shared=folder is not None
        )
        self._drain = Drain(self._listener, self.status, settings.drain_s)
        if self._certificate is not None:
            self._certificate.adopt = self._listener.use_certificate
        self._live = live = LiveKeyring(
            keyring, settings.key_file, sealer, mark, self._link, self._clock
        )
        parts = {
            "origins": origins.adopt,
            "directory": handshake.adopt,
            "protection": self._listener.adopt,
        }
        self.reloading = Reloading(settings, source, self._certificate, live, parts, self._clock)
        self._chores: list[asyncio.Task[None]] = []
        self._reconnects = 0
        self._reporter: Reporter | None = None
        self._probe: Probe | None = None
        if folder is not None and settings.ops_listen is not None:
            measures = Measures(
                counts=counts,
                inboxes=inboxes,
                logs=logs,
                link=self._link,
                sweeper=self._sweeper,
                send_to_push=framing.send_to_push,
                listener=self._listener,
                reconnects=lambda: self._reconnects,
                keyring=live,
                reloading=self.reloading,
                certificate=self._certificate,
                wall=self._clock.wall,
                clock=region_clock,
                promises=promises,
                failing=lambda: self._probe.failing if self._probe is not None else "",
            )
            self._reporter = Reporter(
                folder, name, self.status, self._tasks, measures.export, region_clock
            )
            self._probe = Probe(
                self._link,
                self._subscriber,
                lambda bucket: keys.probe(bucket, gateway),
                sealer,
                self._clock,
                self._reporter.round_trip,
            )

    async def start(self) -> Listening:
        """Connect to Redis, check that it is ours, and listen."""
        if self._region_clock is not None:
            self._link.on_greet = self._learn_time
        self._link.on_up = self._link_is_back
        self._subscriber.on_up = self._heal
        self._subscriber.on_missed = self._heal_some
        if self._reporter is not None and self._probe is not None:
            reporting = self._reporter.run(self._probe)
            self._chores.append(self._tasks.keep(reporting, "report"))
        try:
            await self._link.start()
            await self._subscriber.start()
            await self._subscriber.subscribe(self._apps_channel, self._directory)
            await self._subscriber.subscribe(self._tracer.channel, self._tracer)
        except (StampError, NotDurable) as error:
            raise StartError(str(error)) from error
        if self._region_clock is not None:
            timing = self._region_clock.run(self._ask_time)
            self._chores.append(self._tasks.keep(timing, "clock"))
        await self._presence.renew()  # before anybody is here
        if self._probe is not None:
            self._chores.append(self._tasks.keep(self._probe.run(), "probe"))
        self._chores += [
            self._tasks.keep(self._turn_wheel(), "wheel"),
            self._tasks.keep(self._sweeper.run(), "sweeper"),
            self._tasks.keep(self._refresh_apps(), "apps"),
            self._tasks.keep(self._look(), "look"),
            self._tasks.keep(self._rooms.run(), "rooms"),
            self._tasks.keep(self._presence.run(), "presence"),
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
        self._rooms.close()
        with contextlib.suppress(OperationFailed, TimeoutError):
            async with asyncio.timeout(0.1 * self._settings.drain_s):
                await self._presence.aclose()
                # The last acknowledgements stand before this in the line.
                await asyncio.gather(*self._link.everywhere("PING"), return_exceptions=True)
        await self._subscriber.aclose()
        await self._link.aclose()
        if self._reporter is not None:
            self._reporter.close()
        _log.info("stopped")

    # -- what may have been missed ---------------------------------------------------------------

    def _heal(self) -> None:
        """Pub/sub was away: anything may have been missed."""
        self._reconnects += 1
        self._hub.heal()
        self._presence.heal()
        self._tasks.spawn(self._directory.reload_all(), nothing_to_undo)

    def _heal_some(self, channels: Collection[bytes]) -> None:
        """The same, on these channels alone: a part of a cluster was away, or slots moved."""
        self._hub.heal(channels)
        self._presence.heal(channels)
        if self._apps_channel.encode() in channels:
            self._tasks.spawn(self._directory.reload_all(), nothing_to_undo)

    def _link_is_back(self) -> None:
        """Redis was away: writes may be lost, and this gateway's lease may have ended."""
        self._hub.heal()
        self._tasks.spawn(self._presence.renew(), nothing_to_undo)
        self._tasks.spawn(self._rooms.keep(), nothing_to_undo)  # it may have come back older

    def _app_changed(self, app: App) -> None:
        self._hub.app_changed(app)

    def _sessions_of(self, app_id: str, user: str) -> list[Session]:
        sessions = self._hub.of_user(app_id, user)
        return [session for session in sessions if isinstance(session, Session)]

    def _app_deleted(self, app_id: str) -> None:
        self._hub.app_deleted(app_id)

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
