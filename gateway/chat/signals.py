"""Signals: told to whoever is connected now, sealed on the way, kept nowhere."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from homeport import codes
from homeport.frames import Signaled
from homeport.limits import MAX_SIGNAL_BYTES, MAX_SIGNAL_MEMBERS

from gateway.chat import group_rules as rules
from gateway.chat import prices
from gateway.chat.addressing import Kind, address
from gateway.chat.principal import User, of_kind
from gateway.chat.refused import FAULTS, Refused, check_kind, refusal
from gateway.chat.relay import Relay
from gateway.store.groups import GroupStore


class SignalChat:
    """Passes signals on."""

    def __init__(self, relay: Relay, groups: GroupStore) -> None:
        self._relay = relay
        self._groups = groups

    def signal(self, sender: User, to: str, kind: str, body: bytes) -> Coroutine[Any, Any, None]:
        """Tell every session of the user `to`, in the room, or of the group's members.

        What is refused by this gateway alone is refused before there is anything to await: so a
        flood costs no tasks.

        Raises:
            Refused: not_allowed where the app itself asks, unknown_app, rate_limited, blocked,
                unknown_recipient, invalid_field, body_too_large. The coroutine: not_in_room,
                room_read_only, unknown_group, not_a_member, muted, group_too_large, unavailable,
                internal.
        """
        of_kind(sender, User)
        try:
            app = sender.app
        except FAULTS as error:
            raise refusal(error) from error
        sender.allowance.signal(app.tier, prices.send(body))
        sender.blockers.admit(to)
        check_kind(kind)
        if len(body) > MAX_SIGNAL_BYTES:
            raise Refused(
                codes.BODY_TOO_LARGE, f"The body of a signal is {MAX_SIGNAL_BYTES} bytes at most."
            )
        where, place = address(to)
        return self._pass_on(sender, where, place, Signaled(sender.id, to, kind, body))

    async def _pass_on(self, sender: User, where: Kind, place: str, told: Signaled) -> None:
        try:
            app = sender.app
            if where == "room":
                await self._relay.to_room(app, place, sender.id, told)
            elif where == "group":
                group = rules.may_send(await self._groups.current(app, place), sender)
                if len(group.members) > MAX_SIGNAL_MEMBERS:
                    raise Refused(codes.GROUP_TOO_LARGE)
                sender.allowance.pay(app.tier, prices.told(len(group.members)))
                await self._relay.to_group(app, group, told)
            else:
                await self._relay.to_user(app, place, told)
        except FAULTS as error:
            raise refusal(error) from error
