"""Which users are connected, derived from the device rows that every connection writes.

A device's row in its user's hash (`inbox`) names the session that holds the device, and the end of
a session's id names its gateway (`GATEWAY_CHARS`). A gateway lives while its lease does, one for
all its sessions. A user is therefore online if one of their rows names a living gateway, and
nothing is written for that. Beside the rows lie ``a:<device>`` for each device that was set away,
and ``p``, the user's status text, sealed. They are deleted with the hash.

A user's presence channel carries one byte, which means "look again": `CAME`, `GONE` or `SET`. The
scripts publish it. Only gateways with a watcher of the user subscribe to the channel.

Times are milliseconds since 1970. Every method may raise `Unavailable` or `CommandFault`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from gateway.redis.errors import OperationFailed, Unavailable
from gateway.redis.link import Link
from gateway.store.events import SESSION_ID_CHARS
from gateway.store.headcount import Headcount
from gateway.store.inbox import STALE_MS
from gateway.store.keys import Keys
from gateway.store.scripts import script

_GATEWAYS: Final = script("gateways", "now")
_SET: Final = script("presence_set")

CAME: Final = b"c"
"""A device connected."""
GONE: Final = b"g"
"""A device's connection ended."""
SET: Final = b"s"
"""The user set state or status."""

GATEWAY_CHARS: Final = 6
"""As many characters at the end of a session's id name its gateway."""

LEASE_MS: Final = 20_000
"""How long a gateway that says nothing still lives."""

RENEW_S: Final = 4.0
"""How often it says so. A killed one is known to be dead after `LEASE_MS` and this, at the most."""


class TooManySubscriptions(OperationFailed):
    """The session would watch more than `MAX_SUBSCRIPTIONS` users."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that a session holds, by its row; `seen_ms` is when the row was last written."""

    gateway: str
    seen_ms: int
    away: bool


@dataclass(frozen=True, slots=True)
class Devices:
    """What Redis holds of a user. `seen_ms` is 0 for one who was never here."""

    devices: tuple[Device, ...]
    seen_ms: int
    status: bytes

    def state(self, alive: frozenset[str], now_ms: int) -> Literal["online", "away", "offline"]:
        """The user's state, if the gateways in `alive` are the living ones.

        A row that was not written for `STALE_MS` belongs to a session that ended while Redis was
        away.
        """
        here = [d for d in self.devices if d.gateway in alive and d.seen_ms > now_ms - STALE_MS]
        if not here:
            return "offline"
        return "away" if all(device.away for device in here) else "online"


class PresenceStore:
    """The presence of a region's users, and the lease of the gateway `gateway`.

    With its lease the gateway tells how many connections it has, as `headcount` says, and where it
    is, in words for people.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        gateway: str,
        headcount: Headcount | None = None,
        where: str = "",
    ) -> None:
        self._link = link
        self._keys = keys
        self._gateway = gateway
        self._where = where
        self._headcount = headcount or Headcount()

    def channel(self, app_id: str, user: str) -> str:
        """The presence channel of a user."""
        return self._keys.presence_channel(app_id, user)

    async def renew(self, lease_ms: int = LEASE_MS) -> frozenset[str]:
        """Renew this gateway's lease for `lease_ms`, or end it (0); returns the living gateways."""
        told = self._headcount.telling() if lease_ms else {}
        alive, totals = await self._lease(lease_ms, told)
        self._headcount.learn(told, totals)
        return _names(alive)

    def tell(self, app_id: str) -> asyncio.Future[Any]:
        """Tell of one app's connections. When the future is done, `headcount` has learnt how many
        there are elsewhere, unless it raises as `Link.call`."""
        told = self._headcount.telling([app_id])
        call = self._lease(LEASE_MS, told)
        call.add_done_callback(partial(self._learn, told))
        return call

    def _learn(self, told: Mapping[str, int], call: asyncio.Future[Any]) -> None:
        if call.exception() is None:  # else the next lease tells
            self._headcount.learn(told, call.result()[1])

    def _lease(self, lease_ms: int, told: Mapping[str, int]) -> asyncio.Future[Any]:
        names = self._keys
        keys = (names.gateways, names.connections, names.gateway_names, names.gateways_clock)
        counts = [word for app_id, here in told.items() for word in (app_id, here)]
        return self._link.run(_GATEWAYS, keys, self._gateway, lease_ms, self._where, *counts)

    async def read(self, users: Sequence[tuple[str, str]]) -> tuple[list[Devices], frozenset[str]]:
        """What there is of each (app id, user), and which gateways live, in one round trip."""
        calls = [self._link.call("HGETALL", self._keys.user(*user).meta) for user in users]
        # Last, or a gateway that has just started would have rows here and no lease.
        *hashes, (alive, _) = await asyncio.gather(*calls, self._lease(LEASE_MS, {}))
        return [_found(flat) for flat in hashes], _names(alive)

    async def set(
        self, app_id: str, user: str, device: str, state: str, status: bytes | None
    ) -> None:
        """A connected device is ``online`` or ``away``; None leaves the status, empty clears it."""
        keys = self._keys.user(app_id, user)
        done = await self._link.run(
            _SET,
            (keys.meta, self.channel(app_id, user)),
            device,
            state,
            "" if status is None else "1",
            status or b"",
            durable=True,
        )
        if not done:  # Redis came back without the row; connecting again brings it
            raise Unavailable("device_unknown")


def _names(raw: list[bytes]) -> frozenset[str]:
    return frozenset(name.decode() for name in raw)


def _found(flat: list[bytes]) -> Devices:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    devices, seen = [], 0
    for name, row in fields.items():
        if not name.startswith(b"d:"):
            continue
        _, at, holder, *_ = row.decode().split(" ")
        seen = max(seen, int(at))
        if len(holder) == SESSION_ID_CHARS:
            devices.append(Device(holder[-GATEWAY_CHARS:], int(at), b"a:" + name[2:] in fields))
    return Devices(tuple(devices), seen, fields.get(b"p", b""))
