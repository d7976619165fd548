"""The events of a client, for ``on_event`` and `Client.events`. All are immutable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from homeport.client.message import Message
from homeport.frames import Limits


@dataclass(frozen=True, slots=True)
class Connected:
    """A session is live.

    ``resumed``: messages continue after the client's own position, without a hole. ``expires`` is
    the token's end in seconds since 1970.
    """

    resumed: bool
    region: str
    user: str
    session: str
    expires: int
    limits: Limits

    def __repr__(self) -> str:
        # Events end up in logs; user ids must not.
        return f"<Connected resumed={self.resumed} region={self.region!r} session={self.session!r}>"


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection ended, or could not be made. The caller's own close makes no such event.

    ``code`` is the WebSocket close code, None if there was no connection. ``retry_in`` is in
    seconds, None if ``will_reconnect`` is false.
    """

    code: int | None
    reason: str
    will_reconnect: bool
    retry_in: float | None


@dataclass(frozen=True, slots=True)
class Lost:
    """Numbers ``first`` to ``last`` of the inbox are gone: too old, or over the inbox's cap.

    The conversations' numbers (`Message.seq`) are others.
    """

    first: int
    last: int

    @property
    def count(self) -> int:
        """The number of lost messages."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Reset:
    """The inbox's numbering began anew; numbers of the old epoch say nothing about the new one."""

    old_epoch: str
    new_epoch: str


@dataclass(frozen=True, slots=True)
class ConversationReset:
    """What is known of the conversation with ``peer`` above the number ``seq`` counts no more.

    The store has lost something: the numbers above ``seq`` mean other messages now, or their
    messages are in the history alone. Forget what there was above it, and read
    ``client.conversation(peer).history(after=seq)``. The event comes among the messages: those that
    `Client.messages` handed out before it are the ones to forget, those after it stay.
    """

    peer: str
    seq: int

    def __repr__(self) -> str:
        # Events end up in logs; user ids must not.
        return f"<ConversationReset seq={self.seq}>"


@dataclass(frozen=True, slots=True)
class CursorUnsaved:
    """The cursor file at ``path`` could not be written; it is tried again every second.

    ``reason`` is the operating system's. If the client ends meanwhile, its successor continues from
    the position that was saved last, so messages that were acknowledged since may arrive again.
    """

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class TokenExpiring:
    """The session ends at ``expires`` (seconds since 1970) unless the token is renewed."""

    expires: int


@dataclass(frozen=True, slots=True)
class RoomGap:
    """``missed`` messages of a room are gone; None: the number is unknown."""

    room: str
    missed: int | None


@dataclass(frozen=True, slots=True)
class Signal:
    """``sender`` signals to ``to``: the connected user, ``r:<room id>`` or ``g:<group id>``.

    It is stored nowhere. ``kind`` and ``body`` are as the sender gave them.
    """

    sender: str
    to: str
    kind: str
    body: bytes

    def __repr__(self) -> str:
        # Events end up in logs; bodies and user ids must not.
        return f"<Signal kind={self.kind!r} {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True)
class Transient:
    """A message that was sent with ``online_only``: in no inbox, so not among `Client.messages`."""

    message: Message


@dataclass(frozen=True, slots=True)
class Presence:
    """The state of ``user``: ``online``, ``away`` or ``offline``, and the user's status text.

    ``since`` is when an offline user was last here, in milliseconds since 1970; 0 if that is
    unknown, and for a user who is not offline.
    """

    user: str
    state: str
    status: str
    since: int

    def __repr__(self) -> str:
        # Events end up in logs; user ids and what users write must not.
        return f"<Presence {self.state}>"


@dataclass(frozen=True, slots=True)
class Receipt:
    """``user`` got and read the conversation with ``peer`` up to these messages' ``seq``.

    A message is read when its ``seq`` is at or below ``read``, and delivered when it is at or below
    ``delivered``. 0: none yet. ``user`` may be oneself, on another device.
    """

    peer: str
    user: str
    delivered: int
    read: int

    def __repr__(self) -> str:
        # Events end up in logs; user ids must not.
        return f"<Receipt delivered={self.delivered} read={self.read}>"


@dataclass(frozen=True, slots=True)
class EventsDropped:
    """``count`` events are missing here: the program did not take them as fast as they came."""

    count: int


Event = (
    Connected
    | Disconnected
    | Lost
    | Reset
    | ConversationReset
    | CursorUnsaved
    | TokenExpiring
    | RoomGap
    | Signal
    | Transient
    | Presence
    | Receipt
    | EventsDropped
)
