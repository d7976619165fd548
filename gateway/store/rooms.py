"""Rooms in Redis: seats, the last messages, the write policy.

A room's hash holds ``e`` epoch, ``q`` and ``t`` last seq and ms, ``u`` last used, and, if it was
created with a policy, ``o`` its creator, ``w`` the policy and ``a`` its admins. Its log is a capped
stream with entry ids ``<ms>-<seq>``. The sweeper treats both like an inbox that has no devices.

Times are milliseconds since 1970 and are passed in. Every method may raise, or put into its future,
`Unavailable` or `CommandFault`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from gateway.apps.tiers import Tier
from gateway.redis.errors import OperationFailed
from gateway.redis.link import Link
from gateway.store.inbox import EPOCH_CHARS
from gateway.store.keys import Keys
from gateway.store.scripts import script
from protocol.limits import DEDUPE_WINDOW_MS, MAX_LAST

_JOIN: Final = script("room_join", "half", "room")
_SEATS: Final = script("room_seats", "half", "room")
_SEND: Final = script("room_send", "half", "room")
_SIGNAL: Final = script("room_signal", "half", "room")
_SET: Final = script("room_set")

AWAY_MS: Final = 120_000
"""How long a seat outlives its connection."""

KEEP_EVERY_S: Final = 30.0
"""How often a gateway says which seats are still taken; so a killed one's go after `AWAY_MS`, and
this much later at most."""

_KEPT_MS: Final = AWAY_MS + int(KEEP_EVERY_S * 1000)
_TTL_MS: Final = 10 * 60 * 1000


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

    Where Redis knows less of that epoch, it came back older, and a new epoch begins.
    """

    epoch: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Joined:
    """Where a room stood as a session took its seat: its `entries`, oldest first, end at `top`."""

    epoch: str
    top: int
    members: int
    entries: list[RoomEntry]


_NOTHING: Final = Top()


class RoomStore:
    """The rooms of a region."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def channel(self, app_id: str, room: str) -> str:
        """The pub/sub channel of a room."""
        return self._keys.room(app_id, room).channel

    async def join(
        self,
        app_id: str,
        tier: Tier,
        room: str,
        seat: str,
        last: int,
        epoch: str,
        after: int,
        heard: Top,
        now_ms: int,
    ) -> Joined:
        """Take a seat, ``<user>:<device>``; `epoch` and `after` tell what the client has.

        An `after` above the room's last number counts for nothing.
        """
        keys = self._keys.room(app_id, room)
        found, top, members, raw = await self._link.run(
            _JOIN,
            (keys.meta, keys.log, keys.seats, keys.users, keys.due),
            now_ms,
            tier.retention_ms,
            seat,
            now_ms + _KEPT_MS,
            _TTL_MS,
            last,
            epoch,
            after,
            _new_epoch(),
            keys.member,
            heard.epoch,
            heard.seq,
        )
        entries = [RoomEntry(int(at.partition(b"-")[2]), field[1]) for at, field in reversed(raw)]
        return Joined(found.decode(), int(top), int(members), entries)

    async def keep(
        self, app_id: str, room: str, seats: Sequence[str], heard: Top, now_ms: int
    ) -> tuple[int, str, int]:
        """These seats are taken still; returns how many members there are, and the room's epoch and
        last number."""
        members, epoch, top = await self._seats(
            app_id, room, "keep", seats, now_ms, now_ms + _KEPT_MS, heard
        )
        return int(members), epoch.decode(), int(top)

    def away(self, app_id: str, room: str, seat: str, now_ms: int) -> asyncio.Future[Any]:
        """The seat's connection ended: the seat is kept for `AWAY_MS` from now."""
        return self._seats(app_id, room, "away", (seat,), now_ms, now_ms + AWAY_MS)

    def leave(self, app_id: str, room: str, seat: str, now_ms: int) -> asyncio.Future[Any]:
        """Give the seat up now."""
        return self._seats(app_id, room, "leave", (seat,), now_ms, now_ms)

    def _seats(
        self,
        app_id: str,
        room: str,
        verb: str,
        seats: Sequence[str],
        now_ms: int,
        ends_ms: int,
        heard: Top = _NOTHING,
    ) -> asyncio.Future[Any]:
        keys = self._keys.room(app_id, room)
        return self._link.run(
            _SEATS,
            (keys.meta, keys.seats, keys.users, keys.log),
            now_ms,
            verb,
            ends_ms,
            _TTL_MS,
            heard.epoch,
            heard.seq,
            _new_epoch(),
            *seats,
        )

    def send(
        self,
        app_id: str,
        tier: Tier,
        room: str,
        user: str,
        message_id: bytes,
        record: bytes,
        heard: Top,
        now_ms: int,
    ) -> asyncio.Future[int]:
        """Publish `record` as the room's next number, unless this message id already was.

        The future holds the time at which the message was
        first published; it raises `RoomRefused` where the user may not write.
        """
        keys = self._keys.room(app_id, room)
        taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._link.run_then(
            partial(_settle, taken),
            _SEND,
            (
                self._keys.dedupe(keys.bucket, app_id, message_id),
                keys.meta,
                keys.log,
                keys.seats,
                keys.users,
                keys.due,
                keys.channel,
            ),
            now_ms,
            tier.retention_ms,
            MAX_LAST,
            DEDUPE_WINDOW_MS,
            user,
            record,
            heard.epoch,
            heard.seq,
            message_id.hex()[:EPOCH_CHARS],
            keys.member,
        )
        return taken

    async def set(
        self,
        app_id: str,
        tier: Tier,
        room: str,
        user: str,
        write: str,
        admins: Sequence[str],
        now_ms: int,
    ) -> None:
        """Create the room, or change its write policy.

        Raises:
            RoomRefused: another user created the room, or it has no creator.
        """
        keys = self._keys.room(app_id, room)
        reply = await self._link.run(
            _SET,
            (keys.meta, keys.due),
            now_ms,
            tier.retention_ms,
            user,
            write,
            " ".join(admins),
            _new_epoch(),
            keys.member,
        )
        if reply != b"ok":
            raise RoomRefused(reply.decode())

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


def _new_epoch() -> str:
    """A name for a numbering, unlike any that the room had: a session's id would come again where
    the session joins again."""
    return secrets.token_hex(EPOCH_CHARS // 2)


def _settle(taken: asyncio.Future[int], reply: Any) -> None:
    """Called by the link itself: a message costs no task, and no turn of the loop."""
    if taken.done():  # its caller was cancelled
        return
    if isinstance(reply, OperationFailed):
        taken.set_exception(reply)
    elif reply.isdigit():
        taken.set_result(int(reply))
    else:
        taken.set_exception(RoomRefused(reply.decode()))
