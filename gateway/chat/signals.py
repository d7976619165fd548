"""Signals: told to whoever is connected now, sealed on the way, kept nowhere."""

from __future__ import annotations

from collections.abc import Callable

from gateway.apps.app import App
from gateway.chat import group_rules
from gateway.chat.records import Records
from gateway.chat.refused import Refused, check_kind
from gateway.chat.relay import Relay
from gateway.store import events
from gateway.store.groups import GroupStore
from gateway.store.rooms import RoomStore
from protocol import codes
from protocol.frames import Signal, Signaled
from protocol.ids import group_of, is_user_id, room_of
from protocol.limits import MAX_SIGNAL_BYTES, MAX_SIGNAL_MEMBERS


class SignalChat:
    """Passes signals on. `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self,
        relay: Relay,
        rooms: RoomStore,
        groups: GroupStore,
        records: Records,
        clock_ms: Callable[[], int],
    ) -> None:
        self._relay = relay
        self._rooms = rooms
        self._groups = groups
        self._records = records
        self._clock_ms = clock_ms

    async def signal(self, app: App, user: str, frame: Signal) -> None:
        """Tell every session of the user `frame.to`, in the room, or of the group's members.

        Raises:
            Refused: unknown_recipient, invalid_field, body_too_large, not_in_room, room_read_only,
                unknown_group, not_a_member, muted, group_too_large.
            Unavailable: Redis is away.
        """
        check_kind(frame.kind)
        if len(frame.body) > MAX_SIGNAL_BYTES:
            raise Refused(
                codes.BODY_TOO_LARGE, f"The body of a signal is {MAX_SIGNAL_BYTES} bytes at most."
            )
        told = Signaled(user, frame.to, frame.kind, frame.body)
        room, group = room_of(frame.to), group_of(frame.to)
        if room is not None:
            await self._to_room(app, user, room, told)
        elif group is not None:
            await self._to_group(app, user, group, told)
        elif is_user_id(frame.to):
            await self._relay.to_user(app, frame.to, told)
        else:
            raise Refused(codes.UNKNOWN_RECIPIENT)

    async def _to_room(self, app: App, user: str, room: str, told: Signaled) -> None:
        now_ms = self._clock_ms()
        record = self._records.relay(app, self._rooms.channel(app.id, room), told, now_ms)
        await self._rooms.signal(app.id, room, user, events.relayed(record), now_ms)

    async def _to_group(self, app: App, user: str, group_id: str, told: Signaled) -> None:
        group = group_rules.may_send(await self._groups.current(app, group_id), user)
        if len(group.members) > MAX_SIGNAL_MEMBERS:
            raise Refused(codes.GROUP_TOO_LARGE)
        # Sealed for the group and not for each channel: once, whatever the number of members.
        record = self._records.relay(app, told.to, told, self._clock_ms())
        await self._groups.signal(group, events.relayed_to_group(group_id, record))
