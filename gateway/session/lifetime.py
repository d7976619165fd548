"""How long a live session lives: as its token does, and as its client shows that it is there."""

from __future__ import annotations

from typing import Final, Protocol

from homeport import codes, frames
from msgspec import Struct

from gateway.apps.app import App
from gateway.chat.refused import Refused
from gateway.security.tokens import Identity
from gateway.session.deadlines import Deadlines, Due
from gateway.session.entrance import Entrance
from gateway.session.timing import Timing
from gateway.store import events
from gateway.store.readers import Reader, Revocations


class Living(Protocol):
    """The session, as far as this needs it."""

    def send(self, frame: frames.ServerFrame) -> None:
        """Send a frame, unless the session has ended."""

    def answer(self, request_id: int, answer: Struct | None) -> None:
        """Answer a request with ok, unless the session has ended."""

    def refuse_token(self, request_id: int, refused: Refused) -> None:
        """Answer a renewal with an error."""

    def check(self) -> None:
        """Compare with the store."""

    def close(self, code: codes.CloseCode) -> None:
        """End the session."""


class Lifetime:
    """The lifetime of `session`, which `identity` is known of. It begins with `start`.

    Attributes:
        deadlines: when something is due; None before `start`.
    """

    __slots__ = ("_entrance", "_identity", "_session", "_timing", "deadlines")

    def __init__(
        self, timing: Timing, entrance: Entrance, session: Living, identity: Identity
    ) -> None:
        self._timing = timing
        self._entrance = entrance
        self._session = session
        self._identity = identity
        self.deadlines: Deadlines | None = None

    def revoked_by(self, revocations: Revocations) -> bool:
        """Whether the token is one of those that are void."""
        issued_ms = self._identity.issued_s * 1000
        return issued_ms < revocations.before_ms or self._identity.digest in revocations.tokens

    def holds(self, app: App) -> bool:
        """False where the key that signed the token is gone from the app, or the token is void."""
        return self._identity.holds(app)

    def ended_by(self, event: events.Told, reader: Reader) -> codes.CloseCode | None:
        """How `event` ends the session of `reader`; None: it does not."""
        if isinstance(event, events.Revoked) and self.revoked_by(Revocations(event.before_ms)):
            return codes.REVOKED
        if isinstance(event, events.TokenVoided) and event.digest == self._identity.digest:
            return codes.REVOKED
        if isinstance(event, events.Kicked) and event.device in ("", reader.device):
            return codes.KICKED
        if isinstance(event, events.Displaced) and event.session == reader.session:
            return codes.DEVICE_LIMIT
        return None

    def disputed_by(self, event: events.Told, reader: Reader) -> bool:
        """True where `event` tells of another session that has the device of `reader`, or had it
        before; only the store knows."""
        return (
            isinstance(event, events.Attached)
            and event.device == reader.device
            and event.session != reader.session
            and not reader.ephemeral
        )

    def start(self, behind: bool) -> None:
        """The session is live. `behind`: its client does not read fast enough."""
        clock, ends_s = self._timing.clock, self._identity.expires_s
        now, wall = clock.steady(), clock.wall()
        self.deadlines = Deadlines(self._timing.heartbeat_s, now, ends_s, wall)
        self.behind(behind)
        self._plan(self.deadlines, now, wall)

    def behind(self, behind: bool) -> None:
        """The client fell behind, or caught up, in reading."""
        if self.deadlines is None:
            return
        if behind:
            self.deadlines.stalled(self._timing.clock.steady())
        else:
            self.deadlines.flowing()

    def checked(self) -> None:
        """The session is being compared with the store."""
        if self.deadlines is not None:
            self.deadlines.checked(self._timing.clock.steady())

    def renew(self, app_id: str, frame: frames.Renew) -> None:
        """Go on with the token of `frame`, or refuse it and go on with the one there is.

        Whether it was revoked by itself, only the store knows.
        """
        now, wall = self._timing.clock.steady(), self._timing.clock.wall()
        try:
            identity = self._entrance.renew(frame.token, app_id, self._identity, wall)
        except Refused as refused:
            self._session.refuse_token(frame.id, refused)
            return
        self._identity = identity
        self._session.answer(frame.id, frames.Renewed(identity.expires_s))
        if self.deadlines is not None:
            self.deadlines.renewed(identity.expires_s, wall)
            self._plan(self.deadlines, now, wall)
        self._session.check()

    def visit(self, now: float) -> float | None:
        """Do what is due at `now`; return when to visit again (both in steady seconds)."""
        assert self.deadlines is not None, "`start` plans the first visit"
        wall = self._timing.clock.wall()
        for due in self.deadlines.visit(now, wall):
            if due is Due.PING:
                self._session.send(frames.Ping())
            elif due is Due.EXPIRING:
                self._session.send(frames.Expiring(self._identity.expires_s))
            elif due is Due.CHECK:
                self._session.check()
            else:
                self._session.close(_ENDS[due])
                return None
        return self.deadlines.next_visit(now, wall)

    def end(self) -> None:
        """The session has ended."""
        self._timing.wheel.cancel(self)

    def _plan(self, deadlines: Deadlines, now: float, wall: float) -> None:
        self._timing.wheel.schedule(self, deadlines.next_visit(now, wall))


_ENDS: Final = {
    Due.SILENT: codes.PING_TIMEOUT,
    Due.EXPIRED: codes.SESSION_EXPIRED,
    Due.STALLED: codes.SLOW_CONSUMER,
}
