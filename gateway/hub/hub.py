"""The hub: passes the events of a user to the user's sessions in this process.

A user's channel is subscribed while at least one session of the user is here. An event is read
once and opened once, and every session of the user gets the same payload.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Final, Protocol

import structlog

from gateway.apps.app import App
from gateway.hub.fanout import RoomSession
from gateway.hub.watchers import WatchingSession
from gateway.redis.errors import OperationFailed
from gateway.redis.subscriber import Subscriber
from gateway.security.sealing import UnknownKeyVersion
from gateway.store import events
from gateway.store.errors import AppNotFound
from gateway.store.inbox import InboxStore
from gateway.tasks import Tasks, nothing_to_undo

HEAL_SLICE: Final = 200
"""Sessions checked between two turns of the loop, after a reconnect."""

_log = structlog.get_logger()

Opener = Callable[[str, str, str, events.Stored | events.Relayed], bytes | None]
"""Opens an event for (app id, user, channel); None: nothing to send for it, as it is."""


class SessionGone(OperationFailed):
    """The session ended; nobody hears this."""


class HubSession(RoomSession, WatchingSession, Protocol):
    """What the hub asks of a session, which may also be in a room, or watch users. None of it may
    block or raise.

    A session that raises all the same takes nothing from the others.
    """

    @property
    def app_id(self) -> str: ...
    @property
    def user(self) -> str: ...
    def on_stored(self, number: int, ms: int, push: bytes | None) -> None:
        """The inbox goes up to number `number`, which was stored at `ms`; `push` is what to send
        for it, None where that is to be read from the store."""

    def on_unreadable(self) -> None:
        """A message came whose key this process lacks."""

    def on_event(self, event: events.Told) -> None:
        """Something else happened to the user."""

    def doubt(self) -> None:
        """Show the client nothing more until `check` has gone well."""

    def check(self) -> None:
        """Something may have been missed: compare with the store."""

    def fault(self) -> None:
        """End, because of a fault of ours: the client comes back, and reads its inbox."""

    def on_app_deleted(self) -> None:
        """The app is gone."""

    def on_app_changed(self, app: App) -> None:
        """The app is not what it was."""


class _Topic:
    """One user with sessions here."""

    __slots__ = ("app_id", "channel", "sessions", "user")

    def __init__(self, app_id: str, user: str, channel: str) -> None:
        self.app_id = app_id
        self.user = user
        self.channel = channel
        self.sessions: tuple[HubSession, ...] = ()  # replaced, so it may change while gone through


class Hub:
    """One per process, with its `tasks`. `open_event` makes an event into a payload."""

    def __init__(
        self, subscriber: Subscriber, inboxes: InboxStore, open_event: Opener, tasks: Tasks
    ) -> None:
        self._subscriber = subscriber
        self._inboxes = inboxes
        self._open_event = open_event
        self._tasks = tasks
        self._topics: dict[bytes, _Topic] = {}
        self._healing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many users have sessions here."""
        return len(self._topics)

    def join(self, session: HubSession) -> asyncio.Future[None]:
        """Tell `session` what happens to its user; done once Redis has confirmed the channel."""
        channel = self._inboxes.channel(session.app_id, session.user)
        topic = self._topics.get(channel.encode())
        if topic is None:
            topic = _Topic(session.app_id, session.user, channel)
            self._topics[channel.encode()] = topic
        topic.sessions = (*topic.sessions, session)
        return self._subscriber.subscribe(channel, self)

    def leave(self, session: HubSession) -> None:
        """Tell `session` no more."""
        channel = self._inboxes.channel(session.app_id, session.user)
        topic = self._topics.get(channel.encode())
        if topic is None or session not in topic.sessions:
            return
        topic.sessions = tuple(each for each in topic.sessions if each is not session)
        if not topic.sessions:
            del self._topics[channel.encode()]
            self._subscriber.unsubscribe(channel)

    def find(self, app_id: str, user: str, session_id: str) -> HubSession | None:
        """The session with this id, if it is here."""
        sessions = self.of_user(app_id, user)
        return next((session for session in sessions if session.id == session_id), None)

    def of_user(self, app_id: str, user: str) -> tuple[HubSession, ...]:
        """The user's sessions that are here."""
        topic = self._topics.get(self._inboxes.channel(app_id, user).encode())
        return () if topic is None else topic.sessions

    def sessions(self) -> Iterator[HubSession]:
        """Every session that has joined."""
        for topic in self._topics.values():
            yield from topic.sessions

    def heard(self, channel: bytes, payload: bytes) -> None:
        """Take an event of a user from the subscriber.

        Raises:
            ExceptionGroup: what sessions raised that failed at it. The others were told.
        """
        topic = self._topics[channel]
        try:
            event = events.parse(payload)
        except (struct.error, UnicodeDecodeError):
            # No gateway says such a thing. If it stood for a message, the next number tells.
            _log.error("event_malformed", size=len(payload))
            return
        if isinstance(event, events.Stored | events.Relayed):
            self._tell_opened(topic, event)
        elif event is not None and not isinstance(event, events.RoomMessage):
            _tell(topic.sessions, lambda session: session.on_event(event))

    def _tell_opened(self, topic: _Topic, event: events.Stored | events.Relayed) -> None:
        try:
            payload = self._open_event(topic.app_id, topic.user, topic.channel, event)
        except (UnknownKeyVersion, AppNotFound) as error:
            _log.error("event_unreadable", reason=type(error).__name__)
            _tell(topic.sessions, lambda session: session.on_unreadable())
            return
        if isinstance(event, events.Stored):
            number, ms = event.number, event.message.time_ms
            _tell(topic.sessions, lambda session: session.on_stored(number, ms, payload))
        elif payload is not None:
            _tell(topic.sessions, lambda session: session.on_relayed(payload))

    def heal(self, channels: Collection[bytes] | None = None) -> None:
        """Have every session look for what it missed, or those of `channels` alone. Called when a
        connection to Redis returns, or channels went to another."""
        if channels is None:
            for task in self._healing:
                task.cancel()
            sessions = list(self.sessions())
        else:
            topics = [self._topics[name] for name in channels if name in self._topics]
            sessions = [session for topic in topics for session in topic.sessions]
        for session in sessions:  # all of them now, before anything is heard
            _do_or_end(session, session.doubt)
        task = self._tasks.spawn(self._check(sessions), nothing_to_undo)
        self._healing.add(task)
        task.add_done_callback(self._healing.discard)

    async def _check(self, sessions: Iterable[HubSession]) -> None:
        for number, session in enumerate(sessions, 1):
            _do_or_end(session, session.check)
            if number % HEAL_SLICE == 0:
                await asyncio.sleep(0)

    def app_changed(self, app: App) -> None:
        """Tell every session of an app what the app is now."""
        for session in [s for s in self.sessions() if s.app_id == app.id]:
            _do_or_end(session, partial(session.on_app_changed, app))

    def app_deleted(self, app_id: str) -> None:
        """End every session of an app that is no more."""
        for session in [s for s in self.sessions() if s.app_id == app_id]:
            _do_or_end(session, session.on_app_deleted)


def _tell(sessions: Iterable[HubSession], tell: Callable[[HubSession], None]) -> None:
    """Tell each of `sessions`, and raise only then what those raised that failed."""
    errors: list[Exception] = []
    for session in sessions:
        try:
            tell(session)
        except Exception as error:  # noqa: BLE001 - the others' turn comes whatever it was
            errors.append(error)
    if errors:
        raise ExceptionGroup("sessions failed at what was published", errors)


def _do_or_end(session: HubSession, step: Callable[[], None]) -> None:
    """Have `session` do something for which there is no second time; one that fails ends."""
    try:
        step()
    except Exception as error:  # noqa: BLE001 - the others' turn comes whatever it was
        _log.error("session_failed", session=session.id, exc_info=error)
        session.fault()
