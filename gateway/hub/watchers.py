"""Watched users and the sessions that watch them, for `gateway.hub.presence`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final, Protocol

from homeport.frames import UserPresence

BEHIND_S: Final = 1.0
"""Until a client that did not keep up is tried again."""


class WatchingSession(Protocol):
    """What presence asks of a session. None of it may block or raise."""

    @property
    def id(self) -> str: ...
    def on_room(self, payload: bytes, priority: int) -> bool:
        """Send `payload`, or, where the client does not keep up, drop it and return False."""

    def blocked_by(self, user: str) -> bool:
        """True where `user` blocks the session's user."""


class Topic:
    """One watched user. `shown` is the state reported last; None before the first reading."""

    __slots__ = (
        "_queue",
        "app_id",
        "channel",
        "confirmed",
        "due",
        "holds",
        "next_at",
        "offline_from",
        "sealed",
        "shown",
        "user",
        "watchers",
    )

    def __init__(
        self,
        app_id: str,
        user: str,
        channel: str,
        confirmed: asyncio.Future[None],
        queue: Callable[[Topic], None],
    ) -> None:
        self.app_id = app_id
        self.user = user
        self.channel = channel
        self.confirmed = confirmed
        self.watchers: dict[Watcher, None] = {}
        self.holds = 0  # requests that need it and are not done
        self.shown: UserPresence | None = None
        self.sealed = b""  # the status of `shown`
        self.due = inf
        self.next_at = 0.0
        self.offline_from: float | None = None
        self._queue = queue

    def visit(self, now: float) -> float | None:
        """Queue the user for reading."""
        self.due = inf
        self._queue(self)
        return None


class Watcher:
    """One session that watches users.

    `expires` is by topic, in steady seconds. Users in `hidden` block the session's user
    and were reported as offline; of users in `behind`, the last state was not reported yet.
    """

    __slots__ = ("_visited", "behind", "expires", "hidden", "session")

    def __init__(
        self, session: WatchingSession, visited: Callable[[Watcher, float], float | None]
    ) -> None:
        self.session = session
        self.expires: dict[Topic, float] = {}
        self.hidden: set[Topic] = set()
        self.behind: set[Topic] = set()
        self._visited = visited

    def look_for_block(self, topic: Topic) -> bool:
        """Note whether the user blocks the watcher; returns true where that has changed."""
        before = topic in self.hidden
        if self.session.blocked_by(topic.user):
            self.hidden.add(topic)
        else:
            self.hidden.discard(topic)
        return before != (topic in self.hidden)

    def state_of(self, topic: Topic) -> UserPresence:
        """The state of the user as it was reported last, or as it seems to one who is blocked."""
        assert topic.shown is not None, "nobody watches what was not read"
        return hidden(topic.user) if topic in self.hidden else topic.shown

    def visit(self, now: float) -> float | None:
        """Do what is due for this session, and return when to visit again (steady seconds)."""
        return self._visited(self, now)

    def next_visit(self, now: float) -> float | None:
        """When something is due; None: nothing is watched any more."""
        if not self.expires:
            return None
        first = min(self.expires.values())
        return min(first, now + BEHIND_S) if self.behind else first


def hidden(user: str) -> UserPresence:
    """How `user` seems to be to those whom the user blocks."""
    return UserPresence(user, "offline", "", 0)
