"""The hub's presence: reports changes of users to the sessions of this process that watch them.

A watched user is a topic. A byte on the user's presence channel says that something happened; the
present state is then read from the store, for many topics in one round trip. It is compared with
the state that was reported last, and only a difference is reported: offline once the user has been
away for `AWAY_S`, everything else at once, and no two changes of one user within `CHANGE_EVERY_S`.
A user who reconnects therefore costs one read, and no report. Every topic is read again each
`REFRESH_S`, so a missed change does not stay unnoticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import structlog
from homeport import codec
from homeport.frames import Presence, Priority, UserPresence
from homeport.limits import MAX_SUBSCRIPTIONS

from gateway.clock import Clock
from gateway.hub.alive import Alive
from gateway.hub.hub import SessionGone
from gateway.hub.lease import Lease
from gateway.hub.watchers import Topic, Watcher, WatchingSession
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.redis.subscriber import Subscriber
from gateway.store.presence import CAME, GONE, Devices, PresenceStore, TooManySubscriptions
from gateway.wheel import Wheel

AWAY_S: Final = 10.0
"""How long a user must be away to be reported as offline. The clients of a gateway that drains are
back within 5 s and a little."""

CHANGE_EVERY_S: Final = 5.0
"""Between two changes of one user; the last one wins."""

REFRESH_S: Final = 30.0
"""How often a topic is read where nothing is heard of it."""

RETRY_S: Final = 5.0
"""After a reading that failed."""

CONFIRM_S: Final = 5.0
"""How long Redis may take to confirm channels."""

READ_BATCH: Final = 200
"""Topics read in one round trip."""

SLICE: Final = 256
"""Sessions written to between two turns of the loop."""

_log = structlog.get_logger()


class PresenceHub:
    """One per process.

    `find` gives the session of (app id, user, session id), `open_status` the text of (app id, user,
    sealed status); `timer` goes by the steady clock of `clock`.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        store: PresenceStore,
        find: Callable[[str, str, str], WatchingSession | None],
        open_status: Callable[[str, str, bytes], str],
        clock: Clock,
        timer: Wheel,
    ) -> None:
        self._subscriber = subscriber
        self._store = store
        self._timer = timer
        self._find = find
        self._open_status = open_status
        self._wall_ms = clock.wall_ms
        self._steady = clock.steady
        self._alive = Alive()
        self.lease = Lease(store, self._learn)
        """Of this gateway; to be renewed before the first session comes, and kept."""
        self._topics: dict[bytes, Topic] = {}
        self._watchers: dict[str, Watcher] = {}  # by session id
        self._due: dict[Topic, None] = {}  # to be read
        self._reading: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many users are watched from here."""
        return len(self._topics)

    # -- requests --------------------------------------------------------------------------------

    async def watch(
        self, app_id: str, user: str, session_id: str, users: Iterable[str], expires_s: float
    ) -> list[UserPresence]:
        """Subscribe the session to `users` for `expires_s` seconds; returns their present states.

        Later changes are reported only after the caller of this has been resumed.

        Raises:
            TooManySubscriptions: the session would watch too many users; nothing has changed.
            SessionGone: the session ended meanwhile.
            Unavailable: Redis is away.
        """
        topics = [self._hold(app_id, each) for each in dict.fromkeys(users)]
        try:
            await self._make_ready([topic for topic in topics if topic.shown is None])
            session = self._session(app_id, user, session_id)
            watcher = self._watchers.get(session_id) or Watcher(session, self._visit)
            more = sum(topic not in watcher.expires for topic in topics)
            if len(watcher.expires) + more > MAX_SUBSCRIPTIONS:
                raise TooManySubscriptions("too many subscriptions")
            self._watchers[session_id] = watcher
            now = self._steady()
            expires = now + expires_s
            for topic in topics:
                watcher.expires[topic] = expires
                topic.watchers[watcher] = None
                watcher.behind.discard(topic)
                watcher.look_for_block(topic)
            self._plan(watcher, now)
            return [watcher.state_of(topic) for topic in topics]
        finally:
            for topic in topics:
                topic.holds -= 1
                self._close_unused(topic)

    def unwatch(self, app_id: str, session_id: str, users: Iterable[str]) -> None:
        """Tell the session of `users` no more."""
        watcher = self._watchers.get(session_id)
        if watcher is None:
            return
        for user in users:
            topic = self._topics.get(self._store.channel(app_id, user).encode())
            if topic in watcher.expires:
                self._drop(watcher, topic)
        self._plan(watcher, self._steady())

    async def look(self, app_id: str, users: Sequence[str]) -> list[UserPresence]:
        """The states of `users` in this moment, without regard to blocks.

        Raises:
            Unavailable: Redis is away.
        """
        found, alive = await self._store.read([(app_id, each) for each in users])
        self._learn(alive)
        return [
            self._presence(each, one, self._open_status(app_id, each, one.status))
            for each, one in zip(users, found, strict=True)
        ]

    def gone(self, session_id: str) -> None:
        """The session ended: it watches nobody."""
        watcher = self._watchers.get(session_id)
        if watcher is not None:
            for topic in tuple(watcher.expires):
                self._drop(watcher, topic)
            self._plan(watcher, self._steady())

    def blocks_changed(self, session_id: str) -> None:
        """The session's user has other blockers than before: hide those, and show the others."""
        watcher = self._watchers.get(session_id)
        if watcher is not None:
            for topic in watcher.expires:
                if watcher.look_for_block(topic):
                    self._send(watcher, topic, _payload(watcher.state_of(topic)))
            self._plan(watcher, self._steady())

    def _session(self, app_id: str, user: str, session_id: str) -> WatchingSession:
        session = self._find(app_id, user, session_id)
        if session is None:
            raise SessionGone
        return session

    # -- topics ----------------------------------------------------------------------------------

    def _hold(self, app_id: str, user: str) -> Topic:
        channel = self._store.channel(app_id, user)
        topic = self._topics.get(channel.encode())
        if topic is None:
            confirmed = self._subscriber.subscribe(channel, self)
            topic = Topic(app_id, user, channel, confirmed, self._queue)
            self._topics[channel.encode()] = topic
        topic.holds += 1
        return topic

    async def _make_ready(self, topics: Sequence[Topic]) -> None:
        # First the channel, then the state: what happens in between is heard, or read, or both.
        waiting = {topic.confirmed for topic in topics if not topic.confirmed.done()}
        if waiting:
            # Not cancelled when time is up, as gather would: others may wait for the same ones.
            _, late = await asyncio.wait(waiting, timeout=CONFIRM_S)
            if late:
                raise Unavailable("timeout")
        if topics:
            found, alive = await self._store.read([(t.app_id, t.user) for t in topics])
            self._learn(alive)
            for topic, one in zip(topics, found, strict=True):
                if topic.shown is None:  # else another request was faster
                    self._judge(topic, one)

    def _drop(self, watcher: Watcher, topic: Topic) -> None:
        del watcher.expires[topic]
        watcher.hidden.discard(topic)
        watcher.behind.discard(topic)
        del topic.watchers[watcher]
        self._close_unused(topic)

    def _close_unused(self, topic: Topic) -> None:
        if not topic.watchers and not topic.holds:
            del self._topics[topic.channel.encode()]
            self._due.pop(topic, None)
            self._timer.cancel(topic)
            self._subscriber.unsubscribe(topic.channel)

    # -- what is heard, and when it is looked at -------------------------------------------------

    def heard(self, channel: bytes, payload: bytes) -> None:
        """Take what the subscriber heard of a watched user."""
        topic = self._topics[channel]
        now = self._steady()
        if payload == GONE:
            self._schedule(topic, now + AWAY_S)
            return
        if payload == CAME:
            topic.offline_from = None
            if topic.shown is not None and topic.shown.state == "online":
                return  # one more device, or the one that was gone is back
        self._schedule(topic, max(now, topic.next_at))

    def heal(self, channels: Collection[bytes] | None = None) -> None:
        """Pub/sub was away, or on `channels` alone: anything may have been missed."""
        if channels is None:
            self._look_at(self._topics.values())
        else:
            self._look_at(self._topics[name] for name in channels if name in self._topics)

    def _learn(self, alive: frozenset[str]) -> None:
        if self._alive.learn(alive, self._steady()):
            self._look_at(self._topics.values())

    def _look_at(self, topics: Iterable[Topic]) -> None:
        now = self._steady()
        for topic in topics:
            self._schedule(topic, now)

    def _schedule(self, topic: Topic, due: float) -> None:
        """Look at `due`, or earlier if an earlier look is planned."""
        if due < topic.due:
            topic.due = due
            self._timer.schedule(topic, due)

    def _queue(self, topic: Topic) -> None:
        self._due[topic] = None
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_due(), name="presence")

    async def _read_due(self) -> None:
        """The one task that tells of changes, so that they keep their order."""
        try:
            while self._due:
                batch = list(self._due)[:READ_BATCH]
                for topic in batch:
                    del self._due[topic]
                try:
                    found, alive = await self._store.read([(t.app_id, t.user) for t in batch])
                    self._learn(alive)
                    for topic, one in zip(batch, found, strict=True):
                        if self._is_open(topic) and self._judge(topic, one):
                            await self._tell(topic)
                except Exception as error:  # noqa: BLE001 - or nobody would look at these again
                    if not isinstance(error, OperationFailed):
                        _log.error("presence_failed", exc_info=error)
                    for topic in batch:
                        if self._is_open(topic):
                            self._schedule(topic, self._steady() + RETRY_S)
        finally:
            self._reading = None

    def _is_open(self, topic: Topic) -> bool:
        return self._topics.get(topic.channel.encode()) is topic

    # -- what is told ----------------------------------------------------------------------------

    def _judge(self, topic: Topic, found: Devices) -> bool:
        """Compare what was found with the last report. Returns True if it is to be reported now."""
        now, before = self._steady(), topic.shown
        if before is not None and found.status == topic.sealed:
            status = before.status
        else:
            status = self._open_status(topic.app_id, topic.user, found.status)
        fresh = self._presence(topic.user, found, status)
        changed = before is not None and (before.state, before.status) != (fresh.state, status)
        if changed:
            due = topic.next_at
            if fresh.state == "offline":
                if topic.offline_from is None:
                    topic.offline_from = now
                # The store knows better since when, unless the clocks of gateways differ.
                away = max(now - topic.offline_from, self._wall_ms() / 1000 - fresh.since / 1000)
                due = max(due, now + AWAY_S - away)
            else:
                topic.offline_from = None
            if due > now:
                self._schedule(topic, due)
                return False
            topic.next_at = now + CHANGE_EVERY_S
        topic.shown, topic.sealed, topic.offline_from = fresh, found.status, None
        self._schedule(topic, now + REFRESH_S)
        return changed

    def _presence(self, user: str, found: Devices, status: str) -> UserPresence:
        state = found.state(self._alive.gateways, self._wall_ms())
        return UserPresence(user, state, status, found.seen_ms if state == "offline" else 0)

    async def _tell(self, topic: Topic) -> None:
        assert topic.shown is not None, "only a state that was judged is reported"
        payload, now = _payload(topic.shown), self._steady()
        for number, watcher in enumerate(tuple(topic.watchers), 1):
            if watcher.expires.get(topic, 0.0) > now and topic not in watcher.hidden:
                self._send(watcher, topic, payload)
                if watcher.behind:
                    self._plan(watcher, now)
            if number % SLICE == 0:
                await asyncio.sleep(0)

    def _send(self, watcher: Watcher, topic: Topic, payload: bytes) -> None:
        try:
            taken = watcher.session.on_room(payload, Priority.HIGH)
        except Exception as error:  # noqa: BLE001 - the others are told whatever it was
            _log.error("fan_out_failed", exc_info=error)
            taken = False
        if taken:
            watcher.behind.discard(topic)
        else:
            watcher.behind.add(topic)

    def _visit(self, watcher: Watcher, now: float) -> float | None:
        """End subscriptions that are over; report the last state to sessions that are behind."""
        for topic in [each for each, end in watcher.expires.items() if end <= now]:
            self._drop(watcher, topic)
        for topic in tuple(watcher.behind):
            self._send(watcher, topic, _payload(watcher.state_of(topic)))
        due = watcher.next_visit(now)
        if due is None:
            self._watchers.pop(watcher.session.id, None)
        return due

    def _plan(self, watcher: Watcher, now: float) -> None:
        due = watcher.next_visit(now)
        if due is None:
            self._watchers.pop(watcher.session.id, None)
            self._timer.cancel(watcher)
        else:
            self._timer.schedule(watcher, due)

    # -- the end ---------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Report nothing more, and end the lease."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self.lease.end()


def _payload(shown: UserPresence) -> bytes:
    return codec.encode(Presence(shown.user, shown.state, shown.status, shown.since))
