"""What a user's inbox and a group must be like, in plain Python.

It knows nothing of streams, cursors in Redis, due lists or fences. An inbox is a list of messages,
and for each device how far it has got; a group is a set of users.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from homeport.frames import Cursor

from gateway.store.group_state import Group

CAP = 6


@dataclass
class Message:
    """One message. `gone` says why nobody needs it any more, or can have it; `number` is that of
    the change it is at."""

    seq: int
    ms: int
    record: bytes
    gone: str = ""
    number: int = 0


@dataclass
class Device:
    """`acked` is what the server knows; `cursor` is what the client keeps."""

    acked: int
    seen: int
    cursor: Cursor


@dataclass
class Inbox:
    """What one user's inbox must be like."""

    messages: list[Message] = field(default_factory=list)
    devices: dict[str, Device] = field(default_factory=dict)
    epoch: str = ""
    all_acked: int = 0
    last_used: int = 0

    @property
    def top(self) -> int:
        """The last number."""
        return len(self.messages)

    @property
    def last_ms(self) -> int:
        """When the last message came."""
        return self.messages[-1].ms if self.messages else 0

    def receive(self, record: bytes, now: int) -> None:
        """One more message, exactly once: it has the next number."""
        self.messages.append(Message(self.top + 1, max(self.last_ms, now), record))
        held = [m for m in self.messages if not m.gone]
        for over in held[:-CAP]:
            over.gone = "cap"

    def readable(self, now: int, retention: int) -> list[Message]:
        """What a device that has nothing would get."""
        return [m for m in self.messages if not m.gone and m.ms + retention > now]


@dataclass
class Sent:
    """A message to users, of whom the first may change it, or to a group; `record` is the first.

    By the number of a change, `records` and `notices` hold what it became and what is told of it;
    `told` the buckets that have the latter. A gateway died before it stored it for who `missed` it.
    """

    users: list[str]
    time: int
    record: bytes
    group: str = ""
    records: dict[int, set[bytes]] = field(default_factory=dict)
    notices: dict[int, bytes] = field(default_factory=dict)
    told: set[tuple[int, int]] = field(default_factory=set)
    missed: list[str] = field(default_factory=list)

    def within(self, inbox: Inbox) -> Message | None:
        """It, as somebody's inbox holds it."""
        held = (m for m in inbox.messages if not m.gone and m.record[:16] == self.record[:16])
        return next(held, None)


@dataclass
class Team:
    """What one group must be like.

    `removed` holds for each user the version by which they went last, once that was answered;
    `untold` the notice that was not delivered yet, with those it is for and those who go by it.
    """

    version: int
    members: set[str]
    removed: dict[str, int] = field(default_factory=dict)
    untold: tuple[bytes, list[str], set[str]] | None = None
    seen: list[Group] = field(default_factory=list)
    """Lists of members as gateways read them; all but the last may be old."""

    def hears(self, group: Group) -> set[str]:
        """Who gets a message that goes by the list `group`: all on it but who went since."""
        return {user for user in group.members if self.removed.get(user, 0) <= group.version}
