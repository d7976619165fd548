"""Presence, as a client sets and watches it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from math import ceil
from typing import Literal

from homeport import frames
from homeport.client import checks
from homeport.client.errors import ClientError
from homeport.client.events import Event, Presence
from homeport.client.outgoing import Outgoing, Requests
from homeport.limits import MAX_PRESENCE_USERS

_log = logging.getLogger("homeport.client")


class Watches:
    """The users that one client watches. The server forgets them with each connection."""

    def __init__(self, outgoing: Outgoing, tell: Callable[[Event], None]) -> None:
        self._outgoing = outgoing
        self._tell = tell
        self._until: dict[str, float] = {}  # by user, in the loop's time
        self._known: dict[str, Presence] = {}
        # Told of since they were asked about: the answer, whoever waits for it, is older than that.
        self._told: set[str] = set()
        self._again: asyncio.Task[None] | None = None

    async def watch(
        self, users: Iterable[str], expires: int, timeout: float | None
    ) -> dict[str, Presence]:
        """Subscribe to `users` for `expires` seconds, and return how they are now."""
        checks.instance("expires", expires, int)
        self._prune()
        until = asyncio.get_running_loop().time() + expires
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
        """End the subscriptions to `users`."""
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
        """The connection is gone: no changes arrive until the next one."""
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def receive(self, frame: frames.ServerFrame) -> bool:
        """A user changed; False where the frame says something else."""
        if not isinstance(frame, frames.Presence):
            return False
        self._told.add(frame.user)
        self._learn(_event(frame))
        return True

    def _learn(self, state: Presence) -> None:
        known = self._known.get(state.user)
        self._known[state.user] = state
        if known != state:
            self._tell(state)

    def _prune(self) -> None:
        now = asyncio.get_running_loop().time()
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
                    left = max(1, ceil(until - asyncio.get_running_loop().time()))
                    answer = await self._outgoing.request(
                        frames.PresenceSubscribe, some, left, timeout=None
                    )
                    for state in _states(answer):
                        if state.user not in self._told:
                            self._learn(state)
        except ClientError as error:
            _log.warning("users are watched no more: %s", type(error).__name__)


class PresenceRequests(Requests):
    """The methods of `Client` for presence.

    Every method waits for the answer, and repeats the request after a reconnect, as `Client.send`
    does. `timeout` is in seconds, per request; each request takes up to 100 users.

    Every method may raise, in addition to the errors that it names itself:

    Raises:
        RequestRefused: with `invalid_field`: a value is out of its bounds.
        SendTimeout: no answer in time; the outcome is unknown.
        ClientClosed: the client has ended.
        TypeError, ValueError: an argument makes no sense; nothing was sent.
    """

    _watches: Watches

    async def set_presence(
        self,
        state: Literal["online", "away"],
        *,
        status: str | None = None,
        timeout: float | None = 30,
    ) -> None:
        """Set whether the user is at this device, and optionally the user's status text.

        A connected device is online. After ``away`` it stays away, also after a reconnect, until it
        is set ``online`` again. The user is online if any of their devices is.

        Args:
            state: ``online`` or ``away``.
            status: a text of at most 128 characters, the same on all devices; empty clears it, None
                leaves it unchanged.
            timeout: seconds to wait for the answer; None: no limit.
        """
        checks.one_of("state", state, "online", "away")
        if status is not None:
            checks.text("status", status)
        await self._outgoing.request(frames.PresenceSet, state, status, timeout=timeout)

    async def presence(
        self, users: Iterable[str], *, timeout: float | None = 30
    ) -> dict[str, Presence]:
        """The present states of `users`, by user id."""
        states: dict[str, Presence] = {}
        for some in checks.chunks("users", users, MAX_PRESENCE_USERS):
            answer = await self._outgoing.request(frames.PresenceGet, some, timeout=timeout)
            states |= {state.user: state for state in _states(answer)}
        return states

    async def watch_presence(
        self, users: Iterable[str], *, expires: int = 3600, timeout: float | None = 30
    ) -> dict[str, Presence]:
        """Return the present states of `users`, and report each change as the event `Presence`.

        The subscription survives reconnects and ends after `expires` seconds, 1 to 86,400; watch
        again to prolong it. That a user went offline is reported after ten seconds.

        Raises:
            RequestRefused: also with `too_many_subscriptions`, for the 501st user. Subscriptions of
                earlier requests of the same call stay.
        """
        return await self._watches.watch(users, expires, timeout)

    async def unwatch_presence(self, users: Iterable[str], *, timeout: float | None = 30) -> None:
        """End the subscriptions to `users`."""
        await self._watches.unwatch(users, timeout)


def _states(answer: frames.PresenceList) -> list[Presence]:
    return [_event(each) for each in answer.users]


def _event(state: frames.UserPresence) -> Presence:
    return Presence(state.user, state.state, state.status, state.since)
