"""Rooms in Redis: seats, the last messages, the write policy.

The name of an epoch is 8 hex digits. Where the epoch goes on with the numbers of the one before,
because the server was started anew and has lost nothing, the 8 of that one follow, and up to which
number, in decimal. A room's hash holds ``e`` epoch, ``q`` and ``t`` last seq and ms, ``r`` the run
of the server that gave them, ``u`` last used, and, if it was created with a policy, ``o`` its
creator, ``w`` the policy and ``a`` its admins. Its log is a capped stream with entry ids
``<ms>-<seq>``. The sweeper treats both like an inbox that has no devices.

Times are milliseconds since 1970 and are passed in. Every method may raise, or put into its future,
`Unavailable` or `CommandFault`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from homeport.limits import MAX_LAST

from gateway.apps.app import App
from gateway.clock import Clock
from gateway.redis.errors import OperationFailed
from gateway.redis.link import Link
from gateway.store.conversations import READ_BYTES
from gateway.store.entries import NewEntry, Stored
from gateway.store.fanout import done, fail
from gateway.store.hook_queue import argument
from gateway.store.inbox import EPOCH_CHARS
from gateway.store.keys import Keys
from gateway.store.scripts import script
from gateway.store.storage import ROOM as ROOM_BYTES
from gateway.store.storage import Storage

_JOIN: Final = script("room_join", "half", "room")
_SEATS: Final = script("room_seats", "half", "room")
_SEND: Final = script("room_send", "half", "room", "happened")
_SIGNAL: Final = script("room_signal", "half", "room")
_SET: Final = script("room_set", "happened")

AWAY_MS: Final = 120_000
"""How long a seat outlives its connection."""

KEEP_EVERY_S: Final = 30.0
"""How often a gateway says which seats are still taken; so a killed one's go after `AWAY_MS`, and
this much later at most."""

_Verb = Literal["keep", "away", "leave"]

_OUTLASTS_MS: Final[dict[_Verb, int]] = {
    "keep": AWAY_MS + int(KEEP_EVERY_S * 1000),
    "away": AWAY_MS,
    "leave": 0,
}
"""How long a seat is still taken after each of these."""

THE_APP: Final = "*"
"""The creator of a room that the app itself made: no user has this name."""

_TTL_MS: Final = 10 * 60 * 1000

_LINKED_CHARS: Final = 2 * EPOCH_CHARS
"""Where, in the name of an epoch that goes on with the numbers of another, the number begins."""


class RoomRefused(OperationFailed):
    """The room does not let the user do this: `reason` is the name of an error code."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"refused: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RoomEntry:
    """One of a room's last messages. `record` is as in `events.RoomMessage`."""

    seq: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Top:
    """The highest number that a gateway has heard in a room, and its epoch, "" for none.

    Where Redis knows less of that epoch, it came back older, and a new epoch begins; as it does
    under each run of the server, because nobody may be there who has heard more. Whoever begins it
    then, and has heard nothing that Redis lacks, is a witness that Redis has lost nothing: the
    numbers go on (`kept`).
    """

    epoch: str = ""
    seq: int = 0


class Start(NamedTuple):
    """Where a client's view of a room begins: it wants the `last` messages, and has those up to
    `after` of `epoch`. An `after` above the room's last number counts for nothing."""

    last: int
    epoch: str = ""
    after: int = 0


@dataclass(frozen=True, slots=True)
class Joined:
    """Where a room stood as a session took its seat: its `entries`, oldest first, end at `top`.

    Of those that were asked for, the oldest are left out where all are more than `READ_BYTES`.
    """

    epoch: str
    top: int
    members: int
    entries: list[RoomEntry]


_NOTHING: Final = Top()


class RoomStore:
    """The rooms of a region."""

    def __init__(self, link: Link, keys: Keys, storage: Storage | None = None) -> None:
        self._link = link
        self._keys = keys
        self._storage = storage or Storage(link, keys, Clock().wall_ms)

    def channel(self, app_id: str, room: str) -> str:
        """The pub/sub channel of a room."""
        return self._keys.room(app_id, room).channel

    async def join(
        self,
        app: App,
        room: str,
        seat: str,
        start: Start,
        heard: Top,
        now_ms: int,
    ) -> Joined:
        """Take a seat, ``<user>:<device>``, in a room of `app`."""
        keys = self._keys.room(app.id, room)
        found, top, members, raw = await self._link.run(
            _JOIN,
            (keys.meta, keys.log, keys.seats, keys.users, keys.due),
            now_ms,
            app.tier.retention_ms,
            seat,
            now_ms + _OUTLASTS_MS["keep"],
            _TTL_MS,
            start.last,
            start.epoch,
            start.after,
            _new_epoch(),
            keys.member,
            heard.epoch,
            heard.seq,
            self._link.run_of(keys.bucket),
            READ_BYTES,
        )
        entries = [RoomEntry(int(at.partition(b"-")[2]), field[1]) for at, field in reversed(raw)]
        return Joined(found.decode(), int(top), int(members), entries)

    async def keep(
        self, app_id: str, room: str, seats: Sequence[str], heard: Top, now_ms: int
    ) -> tuple[int, str, int]:
        """These seats are taken still; returns how many members there are, and the room's epoch and
        last number."""
        members, epoch, top = await self._seats(app_id, room, "keep", seats, now_ms, heard)
        return int(members), epoch.decode(), int(top)

    def away(self, app_id: str, room: str, seat: str, now_ms: int) -> asyncio.Future[Any]:
        """The seat's connection ended: the seat is kept for `AWAY_MS` from now."""
        return self._seats(app_id, room, "away", (seat,), now_ms)

    def leave(self, app_id: str, room: str, seat: str, now_ms: int) -> asyncio.Future[Any]:
        """Give the seat up now."""
        return self._seats(app_id, room, "leave", (seat,), now_ms)

    def _seats(
        self,
        app_id: str,
        room: str,
        verb: _Verb,
        seats: Sequence[str],
        now_ms: int,
        heard: Top = _NOTHING,
    ) -> asyncio.Future[Any]:
        keys = self._keys.room(app_id, room)
        return self._link.run(
            _SEATS,
            (keys.meta, keys.seats, keys.users, keys.log),
            now_ms,
            verb,
            now_ms + _OUTLASTS_MS[verb],
            _TTL_MS,
            heard.epoch,
            heard.seq,
            _new_epoch(),
            self._link.run_of(keys.bucket),
            *seats,
        )

    def send(
        self,
        app: App,
        room: str,
        message: NewEntry,
        heard: Top,
        *,
        seated: bool = True,
    ) -> asyncio.Future[Stored]:
        """Publish `message` as the room's next number, unless one with its id already was. Its
        sender must have a seat, unless `seated` is false.

        The future holds the time at which the message was first published, and no number; it raises
        `RoomRefused` where its sender may not write.
        """
        keys = self._keys.room(app.id, room)
        run = self._link.run_of(keys.bucket)
        # A repeat under another run must not come to the epoch that it began before.
        epoch = int(message.id.hex()[:EPOCH_CHARS], 16) ^ int(run or "0", 16)
        taken: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._link.run_then(
            partial(self._sent, app, message, taken),
            _SEND,
            (
                self._keys.dedupe(keys.bucket, app.id, message.id),
                keys.meta,
                keys.log,
                keys.seats,
                keys.users,
                keys.due,
                keys.channel,
            ),
            message.time_ms,
            app.tier.retention_ms,
            MAX_LAST,
            message.remembered_ms,
            message.sender,
            message.record,
            heard.epoch,
            heard.seq,
            f"{epoch:0{EPOCH_CHARS}x}",
            keys.member,
            run,
            argument(message.event, message.id, run) if message.event else b"",
            int(seated),
        )
        return taken

    def _sent(self, app: App, message: NewEntry, taken: asyncio.Future[Stored], reply: Any) -> None:
        """Called by the link itself: a message costs no task, and no turn of the loop."""
        if isinstance(reply, OperationFailed):
            fail(taken, reply)
            return
        time_ms, new, grown = reply.partition(b" ")
        if not time_ms.isdigit():
            fail(taken, RoomRefused(reply.decode()))
            return
        if new:
            self._storage.made(app.id, app.tier, message.sender, int(grown))
            self._storage.marked(app.id, app.tier, message.sender, 1)
        done(taken, Stored(0, int(time_ms)))

    async def set(
        self,
        app: App,
        room: str,
        user: str,
        write: str,
        admins: Sequence[str],
        now_ms: int,
        *,
        claim: bool = False,
        event: bytes = b"",
    ) -> None:
        """Create the room, or change its write policy, as `user` or as `THE_APP`; with `claim` it
        is `user`'s from now on, whoever created it.

        `event` is as that of `NewEntry`.

        Raises:
            RoomRefused: `user` asks, and another created the room, or it has no creator.
        """
        keys = self._keys.room(app.id, room)
        run = self._link.run_of(keys.bucket)
        reply = await self._link.run(
            _SET,
            (keys.meta, keys.due),
            now_ms,
            app.tier.retention_ms,
            user,
            write,
            " ".join(admins),
            _new_epoch(),
            keys.member,
            run,
            int(claim),
            argument(event, secrets.token_bytes(4), run),
            ROOM_BYTES,
        )
        if reply == b"not_room_creator":
            raise RoomRefused(reply.decode())
        self._storage.made(app.id, app.tier, "" if user == THE_APP else user, int(reply))

    async def signal(self, app_id: str, room: str, user: str, event: bytes, now_ms: int) -> None:
        """Publish the event to the sessions in the room.

        Raises:
            RoomRefused: the user is not in the room, or may not write there.
        """
        keys = self._keys.room(app_id, room)
        names = (keys.meta, keys.seats, keys.users, keys.channel)
        reply = await self._link.run(_SIGNAL, names, now_ms, user, event)
        if reply != b"ok":
            raise RoomRefused(reply.decode())


def kept(epoch: str, before: str) -> int | None:
    """Up to which number the numbers of the epoch `before` mean the same messages in the next,
    `epoch`; None where nobody knows."""
    same = len(before) >= EPOCH_CHARS and before[:EPOCH_CHARS] == epoch[EPOCH_CHARS:_LINKED_CHARS]
    return int(epoch[_LINKED_CHARS:]) if same else None


def _new_epoch() -> str:
    """A name for a numbering, unlike any that the room had: a session's id would come again where
    the session joins again."""
    return secrets.token_hex(EPOCH_CHARS // 2)
