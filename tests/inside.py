"""What tests know of the inside of a worker and of its parts, in one place.

A worker is put together in private, and how changes now and then. Tests ask `Inside`, or one of the
functions here, and nothing else in tests/ spells an attribute that begins with an underscore.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

from gateway.chat.chat import Chat
from gateway.chat.groups import GroupChat
from gateway.chat.limits import Limits
from gateway.chat.principal import Principals
from gateway.chat.records import Records
from gateway.chat.sending import MessageChat
from gateway.config import Settings
from gateway.hub.hub import Hub
from gateway.hub.presence import PresenceHub
from gateway.hub.rooms import RoomHub
from gateway.net.admission import Admission
from gateway.net.listener import Listener
from gateway.net.origins import Origins
from gateway.net.upgrade import Upgrades
from gateway.net.websocket import WebSocketConnection
from gateway.redis.link import Link
from gateway.redis.subscriber import Subscriber
from gateway.runtime.report import Reporter
from gateway.runtime.rotation import LiveKeyring
from gateway.runtime.worker import Worker
from gateway.security.sealing import Sealer
from gateway.session.counts import Counts
from gateway.session.session import Session
from gateway.session.sessions import Sessions
from gateway.store.directory import AppDirectory
from gateway.store.groups import GroupStore
from gateway.store.headcount import Headcount
from gateway.store.inbox import InboxStore
from gateway.store.keys import Keys
from gateway.wheel import Wheel


class Inside:
    """The parts of `worker`, and what several tests ask or do there.

    A test that can see the same from the outside (a frame, a number in `ops`, a key in Redis) looks
    there instead.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    # -- questions ---------------------------------------------------------------------------------

    @property
    def open(self) -> int:
        """How many connections are open, authenticated or not."""
        return self.listener.open

    @property
    def opening(self) -> int:
        """How many were accepted and are not open yet: TLS, or a proxy's header, is to come."""
        return sum(len(acceptor._opening) for acceptor in self.listener._acceptors)

    def sessions(self, user: str | None = None) -> list[Session]:
        """The authenticated sessions: all, or those of `user`."""
        sessions = [each for each in self.hub.sessions() if isinstance(each, Session)]
        return [each for each in sessions if user in (None, each.user)]

    def connections(self, user: str | None = None) -> list[WebSocketConnection]:
        """The gateway's ends of all connections, or of those of `user`."""
        found = self.listener._connections
        if user is None:
            return list(found)
        return [each for each in found if each.session is not None and each.session.user == user]

    def connection(self, user: str) -> WebSocketConnection:
        """The gateway's end of a user's only connection."""
        (found,) = self.connections(user)
        return found

    @property
    def chores(self) -> dict[str, asyncio.Task[None]]:
        """The tasks that run as long as the worker does, by name."""
        return {chore.get_name(): chore for chore in self._worker._chores}

    @property
    def reconnects(self) -> int:
        """How often pub/sub came back after something may have been missed; the start counts."""
        return self._worker._recovery.reconnects

    # -- actions -----------------------------------------------------------------------------------

    async def sweep(self) -> int:
        """Do one round of the sweeper at once; returns how much it deleted."""
        return await self._worker._sweeper.sweep()

    async def keep_rooms(self) -> None:
        """Renew the seats in rooms at once, and look who else's have run out."""
        await self.rooms.keep()

    async def renew_presence(self) -> None:
        """Renew the gateway's lease at once, and look which other gateway's has run out."""
        await self.presence.lease.renew()

    async def saved(self) -> None:
        """Everything that Redis was asked until now is done."""
        await self.link.call("PING")

    @contextlib.contextmanager
    def losing(self, lost: Callable[[bytes, bytes], bool]) -> Iterator[None]:
        """What Redis publishes of users, rooms, presence and apps meanwhile does not come here,
        where `lost(channel, payload)`."""

        def losing(heard: Callable[[bytes, bytes], None]) -> Callable[[bytes, bytes], None]:
            return lambda *said: None if lost(*said) else heard(*said)

        with contextlib.ExitStack() as stack:
            for part in (self.hub, self.rooms, self.presence, self.directory):
                stack.enter_context(mock.patch.object(part, "heard", losing(part.heard)))
            yield

    @contextlib.contextmanager
    def deaf(self) -> Iterator[list[bytes]]:
        """As `losing`, all of it; gives what was missed so far."""
        missed: list[bytes] = []

        def miss(_: bytes, payload: bytes) -> bool:
            missed.append(payload)
            return True

        with self.losing(miss):
            yield missed

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """Redis is away meanwhile, as far as this worker knows."""
        with mock.patch.object(self.link, "up", new=False):
            yield

    def another_listener(self, origins: Origins, **changes: object) -> Listener:
        """A listener more, for the same sessions. `changes` are to the worker's settings."""
        settings = self.settings.model_copy(update=changes)
        return Listener(
            self._sessions, self.listener._timing, Upgrades(origins, self.counts), settings
        )

    # -- parts, to use by what is public of them ---------------------------------------------------

    @property
    def settings(self) -> Settings:
        """What it was started with."""
        return self._worker._settings

    @property
    def listener(self) -> Listener:
        """The listening sockets and their connections."""
        return self._worker._door.listener

    @property
    def _sessions(self) -> Sessions:
        return self.listener._sessions

    @property
    def hub(self) -> Hub:
        """The sessions of each user."""
        return self._worker._backend.hubs.users

    @property
    def rooms(self) -> RoomHub:
        """The sessions in each room."""
        return self._worker._backend.hubs.rooms

    @property
    def presence(self) -> PresenceHub:
        """The sessions that watch each user."""
        return self._worker._backend.hubs.presence

    @property
    def wheel(self) -> Wheel:
        """What is due when, on the steady clock."""
        return self._worker._timing.wheel

    @property
    def link(self) -> Link:
        """The connection to Redis for everything but pub/sub."""
        return self._worker._backend.link

    @property
    def subscriber(self) -> Subscriber:
        """The connection to Redis for pub/sub."""
        return self._worker._backend.subscriber

    @property
    def keys(self) -> Keys:
        """The names of what is in Redis."""
        return self._worker._backend.core.keys

    @property
    def inboxes(self) -> InboxStore:
        """The users' inboxes."""
        return self._worker._backend.stores.inboxes

    @property
    def directory(self) -> AppDirectory:
        """The apps."""
        return self._worker._backend.directory

    @property
    def limits(self) -> Limits:
        """The buckets of users and apps."""
        return self._worker._backend.limits

    @property
    def headcount(self) -> Headcount:
        """The connections of each app."""
        return self._worker._backend.headcount

    @property
    def counts(self) -> Counts:
        """What the sessions count."""
        return self._worker._door.counts

    @property
    def chat(self) -> Chat:
        """What a door may ask for."""
        return self._worker._backend.chat

    @property
    def principals(self) -> Principals:
        """What makes the authors of requests."""
        return self._worker._backend.principals

    @property
    def sending(self) -> MessageChat:
        """What a send goes through."""
        return self.chat.messages

    @property
    def group_chat(self) -> GroupChat:
        """What requests about groups go through."""
        return self.chat.groups

    @property
    def groups(self) -> GroupStore:
        """What is kept of groups."""
        return self._worker._backend.stores.groups

    @property
    def records(self) -> Records:
        """What seals and opens messages."""
        return self._worker._backend.framing.records

    @property
    def sealer(self) -> Sealer:
        """The keys that everything is sealed with."""
        return self._worker._backend.core.sealer

    @property
    def keyring(self) -> LiveKeyring:
        """What takes up a key file that was changed."""
        return self._worker._live

    @property
    def reporter(self) -> Reporter:
        """What tells the ops process; only a worker with a run folder has one."""
        assert self._worker._reporter is not None
        return self._worker._reporter


def seats(hub: RoomHub) -> int:
    """How many seats the sessions of this process have."""
    return sum(len(rooms) for rooms in hub._of.values())


def watchers(hub: PresenceHub) -> int:
    """How many sessions watch somebody."""
    return len(hub._watchers)


def nothing_to_read(hub: PresenceHub) -> bool:
    """True while nobody's presence is to be read."""
    return hub._reading is None and not hub._due


def is_read(connection: WebSocketConnection) -> bool:
    """False while nothing is taken from the client."""
    return connection._transport.is_reading()


def remembered(admission: Admission) -> int:
    """How many sources' rates are in memory."""
    return len(admission._recent)


def cached_keys(sealer: Sealer) -> int:
    """How many derived keys are in memory."""
    return sealer._cipher.cache_info().currsize
