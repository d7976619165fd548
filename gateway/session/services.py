"""What every session of a process shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.chat.chat import Chat
from gateway.chat.limits import Limits
from gateway.chat.records import Records
from gateway.clock import Clock
from gateway.hub.hub import Hub
from gateway.hub.presence import PresenceHub
from gateway.hub.rooms import RoomHub
from gateway.payload import Bundle, Payload
from gateway.session.app_limit import AppLimit
from gateway.session.counts import Counts
from gateway.session.handshake import Handshake
from gateway.session.lines import Lines
from gateway.session.saving import Saving
from gateway.store.directory import AppDirectory
from gateway.store.inbox import InboxStore
from gateway.tasks import Tasks
from gateway.wheel import Wheel
from protocol.codes import CloseCode

if TYPE_CHECKING:  # it needs `Wire`
    from gateway.session.tracing import Tracer


class Wire(Protocol):
    """The connection under a session."""

    @property
    def congested(self) -> bool:
        """True while the client does not read fast enough for what was already sent."""

    @property
    def waiting(self) -> int:
        """Bytes that were sent and that the client has not made room for yet."""

    def send(self, payload: Payload) -> None:
        """Frame and send one payload, with everything else of this turn of the loop."""

    def write(self, payload: Payload | Bundle) -> None:
        """Frame and send what is joined already at once, behind everything that was sent before."""

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send what was sent before, then a close frame, then end the connection."""

    def authenticated(self) -> None:
        """The client is known: messages may be as large as v1 allows."""

    def throttle(self, throttled: bool) -> None:
        """Stop, or go on, reading from the client."""


@dataclass(frozen=True, slots=True)
class Services:
    """Made once, by the worker. `heartbeat_s` is in seconds; `gateway` ends the sessions' ids."""

    handshake: Handshake
    directory: AppDirectory
    inboxes: InboxStore
    records: Records
    hub: Hub
    wheel: Wheel
    clock: Clock
    heartbeat_s: float
    chat: Chat
    limits: Limits
    app_limit: AppLimit
    rooms: RoomHub
    presence: PresenceHub
    gateway: str
    lines: Lines
    tasks: Tasks
    tracer: Tracer
    saving: Saving = field(default_factory=Saving)
    counts: Counts = field(default_factory=Counts)
