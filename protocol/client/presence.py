"""Presence, as a client sets and watches it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from math import ceil
from typing import Literal

from protocol import frames
from protocol.client import checks
from protocol.client.errors import ClientError
from protocol.client.events import Event, Presence
from protocol.client.outgoing import Outgoing
from protocol.limits import MAX_PRESENCE_USERS

_log = logging.getLogger("homeport.client")


class Watches:
    """The users that one client watches. The server forgets them with each connection."""

    def __init__(self, outgoing: Outgoing, tell: Callable[[Event], None]) -> None:
        self._outgoing = outgoing
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._until: dict[str, float] = {}  # by user, in the loop's time
        self._known: dict[str, Presence] = {}
        # Told of since they were asked about: the answer, whoever waits for it, is older than that.
        self._told: set[str] = set()
        self._again: asyncio.Task[None] | None = None

    async def watch(
        self, users: Iterable[str], expires: int, timeout: float | None
    ) -> dict[str, Presence]:
        """See `PresenceRequests.watch_presence`."""
        checks.instance("expires", expires, int)
        self._prune()
        until = self._loop.time() + expires
        states: dict[str, Presence] = {}
        for some in checks.chunks("users", users, MAX_PRESENCE_USERS):
            self._told.difference_update(some)
            answer = await self._outgoing.request(
                frames.PresenceSubscribe, some, expires, timeout=timeout
            )
            for state in _states(answer):
                self._until[state.user] = until
                states[state.user] = state
                if state.user not in self._told:
                    self._known[state.user] = state
        return states

    async def unwatch(self, users: Iterable[str], timeout: float | None) -> None:
        """See `PresenceRequests.unwatch_presence`."""
        for some in checks.chunks("users", users, MAX_PRESENCE_USERS):
            for user in some:
                self._until.pop(user, None)
                self._known.pop(user, None)
            await self._outgoing.request(frames.PresenceUnsubscribe, some, timeout=timeout)

    def connected(self) -> None:
        """Subscribe again, for what is left of the time."""
        self._prune()
        self._told.clear()
        if self._until:
            self._again = asyncio.create_task(self._subscribe_again())

    def disconnected(self) -> None:
        """Nothing is told until the next connection."""
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def receive(self, frame: frames.Presence) -> None:
        """A user changed."""
        self._told.add(frame.user)
        self._learn(_event(frame))

    def _learn(self, state: Presence) -> None:
        known = self._known.get(state.user)
        self._known[state.user] = state
        if known != state:
            self._tell(state)

    def _prune(self) -> None:
        now = self._loop.time()
        for user in [each for each, until in self._until.items() if until <= now]:
            del self._until[user]
            self._known.pop(user, None)

    async def _subscribe_again(self) -> None:
        together: dict[float, list[str]] = {}
        for user, until in self._until.items():
            together.setdefault(until, []).append(user)
        try:
            for until, users in together.items():
                for some in checks.chunks("users", users, MAX_PRESENCE_USERS):
                    left = max(1, ceil(until - self._loop.time()))
                    answer = await self._outgoing.request(
                        frames.PresenceSubscribe, some, left, timeout=None
                    )
                    for state in _states(answer):
                        if state.user not in self._told:
                            self._learn(state)
        except ClientError as error:
            _log.warning("users are watched no more: %s", type(error).__name__)


class PresenceRequests:
    """What `Client` can do about presence.

    Every method waits for the answer, and is repeated after a reconnect, as `Client.send` is. It
    raises `RequestRefused` with `invalid_field` where something is not a user id or out of its
    bounds, and `SendTimeout`, `ClientClosed`, `TypeError` and `ValueError` as `Client.send` does.
    `timeout` is in seconds, for each request that it takes: one for 100 users.
    """

    _outgoing: Outgoing
    _watches: Watches

    async def set_presence(
        self,
        state: Literal["online", "away"],
        status: str | None = None,
        *,
        timeout: float | None = 30,
    ) -> None:
        """Say whether the user is at this device, and perhaps what the user's status is.

        A device is online unless it says away, which then holds until it says online, also after a
        reconnect. The user is online where any of the devices is.

        Args:
            state: ``online`` or ``away``.
            status: a text of at most 128 characters, the same on all devices; empty clears it, None
                leaves it.
            timeout: see the class.
        """
        checks.one_of("state", state, "online", "away")
        if status is not None:
            checks.text("status", status)
        await self._outgoing.request(frames.PresenceSet, state, status, timeout=timeout)

    async def presence(
        self, users: Iterable[str], *, timeout: float | None = 30
    ) -> dict[str, Presence]:
        """How these users are now."""
        states: dict[str, Presence] = {}
        for some in checks.chunks("users", users, MAX_PRESENCE_USERS):
            answer = await self._outgoing.request(frames.PresenceGet, some, timeout=timeout)
            states |= {state.user: state for state in _states(answer)}
        return states

    async def watch_presence(
        self, users: Iterable[str], *, expires: int = 3600, timeout: float | None = 30
    ) -> dict[str, Presence]:
        """How these users are now; from then on each change comes as the event `Presence`.

        That goes on over reconnects, for `expires` seconds, 1 to 86,400; to prolong it, watch
        again. A user who goes offline is told so after ten seconds.

        Raises:
            RequestRefused: also `too_many_subscriptions`, for the 501st user. What earlier requests
                of the same call did stays.
        """
        return await self._watches.watch(users, expires, timeout)

    async def unwatch_presence(self, users: Iterable[str], *, timeout: float | None = 30) -> None:
        """Hear no more of these users."""
        await self._watches.unwatch(users, timeout)


def _states(answer: frames.PresenceList) -> list[Presence]:
    return [_event(each) for each in answer.users]


def _event(state: frames.UserPresence) -> Presence:
    return Presence(state.user, state.state, state.status, state.since)
