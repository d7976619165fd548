"""Frames of presence: types 72 to 79."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from homeport.frames.types import Count, Request, UserId
from homeport.limits import (
    MAX_PRESENCE_USERS,
    MAX_STATUS_CHARS,
    MAX_SUBSCRIPTION_S,
)

Users = Annotated[
    tuple[UserId, ...],
    Meta(min_length=1, max_length=MAX_PRESENCE_USERS),
]
# Not a Literal: the decoder's text for one repeats what the client wrote.
DeviceState = Annotated[str, Meta(pattern=r"^(online|away)\Z")]
State = Annotated[str, Meta(pattern=r"^(online|away|offline)\Z")]


class UserPresence(Struct, array_like=True, frozen=True):
    """How a user is: ``[user, state, status, since]``.

    ``since`` is when an offline user was last here, in milliseconds; 0 where that is not known, or
    the user is not offline.
    """

    user: str
    state: State
    status: str
    since: Count


class PresenceList(Struct, array_like=True, frozen=True):
    """The answer to `PresenceSubscribe` and `PresenceGet`: each user once, in the order asked."""

    users: tuple[UserPresence, ...]


class PresenceSet(Request[None], array_like=True, frozen=True, tag=72):
    """Client to server: what this device is while it is connected.

    ``status`` is the user's text on all devices; empty clears it, None leaves it as it is.
    """

    state: DeviceState
    status: Annotated[str, Meta(max_length=MAX_STATUS_CHARS)] | None = None


class PresenceSubscribe(Request[PresenceList], array_like=True, frozen=True, tag=73):
    """Client to server: tell me of these users for ``expires`` seconds.

    The answer is how they are now; a `Presence` follows for each change.
    """

    users: Users
    expires: Annotated[int, Meta(ge=1, le=MAX_SUBSCRIPTION_S)] = 3600


class PresenceUnsubscribe(Request[None], array_like=True, frozen=True, tag=74):
    """Client to server: tell me of these users no more."""

    users: Users


class Presence(UserPresence, array_like=True, frozen=True, tag=75):
    """Server to client: a user changed."""


class PresenceGet(Request[PresenceList], array_like=True, frozen=True, tag=76):
    """Client to server: how are these users now?"""

    users: Users
