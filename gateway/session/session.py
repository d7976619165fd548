"""A session: one client's connection, from its first frame to its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from homeport import codec, codes, frames
from homeport.ids import is_device_id
from msgspec import Struct

from gateway.apps.app import App
from gateway.chat.refused import Refused
from gateway.hub.fanout import Bundle
from gateway.security.tokens import Identity
from gateway.session.blockers import BlockerWatch
from gateway.session.delivery import Delivery
from gateway.session.entrance import Entrance
from gateway.session.inboxes import Page
from gateway.session.intake import FAULTY, LARGE_BYTES, RENEW, Intake
from gateway.session.lifetime import Lifetime
from gateway.session.notes import SessionNotes
from gateway.session.requests import Requests
from gateway.session.state import State
from gateway.session.timing import Timing
from gateway.session.tracing import Tap, TracedWire
from gateway.session.window import AckAhead
from gateway.session.wire import MAX_WAITING, ROOM_WAITING, Wire
from gateway.store import events
from gateway.store.endings import BROKEN_OFF, Cause
from gateway.store.readers import Reader


class Session:
    """One connection, with the random `id`; what comes is paid for to `intake`. `bearer` is the
    token of the upgrade, if any; `connect` connects the session with the token it is given.

    The connection calls `receive`, `receive_text`, `writable` and `disconnected`; the hub calls
    the ``on_`` methods; the wheel calls `visit`. While it connects, `identified`, `entered` and
    `go_live` are called, in this order.
    """

    __slots__ = (
        "_bearer",
        "_blockers",
        "_cause",
        "_connect",
        "_delivery",
        "_early_top",
        "_entered",
        "_entrance",
        "_lifetime",
        "_notes",
        "_reader",
        "_recheck",
        "_requests",
        "_state",
        "_tap",
        "_timing",
        "_wire",
        "id",
        "intake",
    )

    def __init__(
        self,
        entrance: Entrance,
        notes: SessionNotes,
        timing: Timing,
        connect: Callable[[Session, frames.Connect, str | None], None],
        wire: Wire,
        *,
        id: str,
        bearer: str | None,
    ) -> None:
        self.id = id
        self._entrance = entrance
        self._notes = notes
        self._timing = timing
        self._connect = connect
        self._wire = wire
        self.intake = Intake(timing.clock, self.throttle)
        self._bearer = bearer
        self._state = State.OPENED
        self._tap: Tap | None = None  # where an operator traces the user
        self._cause = BROKEN_OFF  # until one side says that it ends the session
        self._early_top = 0
        self._recheck = False
        self._reader: Reader | None = None
        self._entered: App | None = None  # whose connection it is counted as
        self._requests: Requests | None = None
        self._blockers: BlockerWatch | None = None
        self._delivery: Delivery | None = None
        self._lifetime: Lifetime | None = None

    @property
    def app_id(self) -> str:
        """The app, once the token is verified."""
        return self.reader.app_id

    @property
    def user(self) -> str:
        """The user, once the token is verified."""
        return self.reader.user

    @property
    def reader(self) -> Reader:
        """The device, user and app of the session, once the token is verified."""
        assert self._reader is not None, "the session is not authenticated"
        return self._reader

    def trace(self, tap: Tap | None) -> None:
        """Tell `tap` of each frame from now on; None: nobody."""
        wire = self._wire.wire if isinstance(self._wire, TracedWire) else self._wire
        self._wire = wire if tap is None else TracedWire(wire, tap)
        self._tap = tap
        if self._delivery is not None:
            self._delivery.use(self._wire)

    @property
    def idle(self) -> bool:
        """True when no request waits for its answer."""
        return self._requests is None or self._requests.idle

    def is_closed(self) -> bool:
        """True once the session has ended."""
        return self._state is State.CLOSED

    @property
    def cause(self) -> Cause:
        """Why it has ended."""
        return self._cause

    @property
    def wire(self) -> Wire:
        """Where its payloads go."""
        return self._wire

    # -- from the client -----------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take one binary message."""
        if self._state is State.CLOSED:
            return
        if self._tap is not None:
            self._tap.received(data)
        lifetime, now = self._lifetime, self._timing.clock.steady()
        self.intake.take(now, 1 + len(data) // LARGE_BYTES)
        if lifetime is not None and lifetime.deadlines is not None:
            lifetime.deadlines.heard(now)
        try:
            frame = codec.decode_client(data)
        except codec.MalformedFrame as error:
            self.close(codes.BAD_FRAME, str(error))
            return
        except codec.FrameError as error:
            self.intake.take(now, FAULTY)
            self.refuse(error.request_id, Refused(error.code, str(error)))
            return
        self._notes.counts.frames[type(frame)] += 1
        if self._state is State.LIVE:
            handler = _HANDLERS.get(type(frame))
            if handler is not None:
                handler(self, frame)
            elif self._requests is not None:
                self._requests.handle(frame)
        elif isinstance(frame, frames.Connect) and self._state is State.OPENED:
            self._on_first_connect(frame)
        elif self._state is State.LEAVING:
            if isinstance(frame, frames.Ack):
                self._on_ack(frame)
        else:
            request_id = getattr(frame, "id", frames.NO_REQUEST)
            self.refuse(request_id, Refused(codes.NOT_CONNECTED))
            self.close(codes.CONNECT_EXPECTED)

    def receive_text(self) -> None:
        """A text message came; protocol v1 has none."""
        self.close(codes.BAD_FRAME, "a text message; frames are binary messages")

    def writable(self, writable: bool) -> None:
        """The client fell behind, or caught up, in reading."""
        if not writable:
            self._notes.counts.slow_consumers += 1
        if self._lifetime is not None:
            self._lifetime.behind(not writable)
        self.throttle()
        if writable and self._delivery is not None:
            self._delivery.catch_up()

    def left(self, code: int) -> None:
        """The client ends the connection, with this close code; `disconnected` follows."""
        if not self.is_closed():
            self._cause = Cause("client", code)

    def visit(self, _: float) -> None:
        """The time to connect is over."""
        if self._state is State.OPENED:  # to go on from there has a limit of its own
            self.close(codes.CONNECT_TIMEOUT)

    def throttle(self) -> None:
        """Read the client only while it reads us, pays, and has not too many requests open."""
        if not self.is_closed():
            too_many = self._requests is not None and self._requests.too_many
            self._wire.throttle(self._wire.congested or self.intake.empty or too_many)

    # -- connect -------------------------------------------------------------------------------

    def identified(self, reader: Reader, identity: Identity) -> None:
        """The token is verified: it is a session of `reader`."""
        self._reader = reader
        self._lifetime = Lifetime(self._timing, self._entrance, self, identity)
        self._bearer = None

    def entered(self, app: App, requests: Requests, blockers: BlockerWatch) -> None:
        """It is counted as a connection of `app`, and hears from now on of its user."""
        self._entered = app
        self._requests = requests
        self._blockers = blockers

    def go_live(self, connected: frames.Connected, delivery: Delivery, page: Page) -> None:
        """Answer the connect with `connected`, and push `page`, which holds the first that wait,
        and whatever comes."""
        assert self._lifetime is not None, "it is identified"
        assert self._entered is not None, "it has entered"
        self._state = State.LIVE
        self.intake.known(self._entered.tier)
        self._delivery = delivery
        self._lifetime.start(behind=self._wire.congested)
        self._notes.connected(self.reader, self._entered.tier.name, connected.resumed)
        self._wire.authenticated()
        self.send(connected)
        delivery.start(page, self._early_top)
        if self._recheck:
            self.check()

    def refuse_token(self, request_id: int, refused: Refused) -> None:
        """Answer a connect or a renewal with an error."""
        self._notes.token_refused(refused)
        self.refuse(request_id, refused)

    def _on_first_connect(self, frame: frames.Connect) -> None:
        if not is_device_id(frame.device):
            self.refuse(frame.id, Refused(codes.INVALID_FIELD, "`device` has a wrong form."))
            return
        self._state = State.CHECKING
        self._connect(self, frame, self._bearer if frame.token is None else frame.token)

    # -- frames of a live session that ask for nothing in the store ------------------------------

    def _on_ack(self, frame: frames.Ack) -> None:
        assert self._delivery is not None
        try:
            self._delivery.ack(frame.number)
        except AckAhead as error:
            self.refuse(frames.NO_REQUEST, Refused(codes.ACK_AHEAD, f"The last was {error.sent}."))

    def _on_renew(self, frame: frames.Renew) -> None:
        assert self._lifetime is not None
        self.intake.take(self._timing.clock.steady(), RENEW)
        self._lifetime.renew(self.app_id, frame)

    # -- from the hub ----------------------------------------------------------------------------

    def on_stored(self, number: int, ms: int, push: bytes | None) -> None:
        """The user's inbox goes up to `number`; `push` is its push, not framed yet, or None where
        that is to be read."""
        if self._delivery is not None:
            self._delivery.stored(number, ms, push)
        else:
            self._early_top = max(self._early_top, number)

    def on_relayed(self, payload: bytes) -> None:
        """Send a payload that is stored nowhere; a client that does not keep up misses it."""
        if self._state is State.LIVE and not self._wire.congested:
            self._wire.send(payload)

    def on_room(self, payload: bytes | Bundle, priority: int) -> bool:
        """Send a room's payload; which ones a slow client misses depends on their priority."""
        wire = self._wire
        if self._state is not State.LIVE or (
            wire.congested and wire.waiting > ROOM_WAITING[frames.Priority(priority)]
        ):
            return False
        wire.write(payload)
        return True

    def blocked_by(self, user: str) -> bool:
        """True if `user` blocks this session's user, as far as this session has heard."""
        return self._blockers is not None and user in self._blockers

    def on_unreadable(self) -> None:
        """A message came whose key this gateway lacks; another gateway may have it."""
        self.close(codes.STORE_UNAVAILABLE)

    def on_event(self, event: events.Told) -> None:
        """Something else happened to the user."""
        assert self._lifetime is not None
        code = self._lifetime.ended_by(event, self.reader)
        if code is not None:
            self.close(code)
        elif isinstance(event, events.BlockChanged) and self._blockers is not None:
            self._blockers.hear(event, live=self._state is State.LIVE)
        elif self._lifetime.disputed_by(event, self.reader):
            # Which of the two came last, only the store knows: the word may be late.
            self._recheck = self._state is not State.LIVE
            self.doubt()
            self.check()

    def on_app_changed(self, app: App) -> None:
        """The certificate that signed this session's token may be gone, or the token void."""
        assert self._lifetime is not None
        if not self._lifetime.holds(app):
            self.close(codes.REVOKED)

    def on_app_deleted(self) -> None:
        """The app is gone, and with it everything it had."""
        self.close(codes.APP_DELETED)

    def doubt(self) -> None:
        """Push nothing until `check` has found that the inbox still has the same numbering."""
        if self._delivery is not None:
            self._delivery.doubt()

    def check(self) -> None:
        """Compare with the store. A session that is still connecting reads the store anyway."""
        if self._state is State.LIVE and self._lifetime is not None and self._delivery is not None:
            self._lifetime.checked()
            self._delivery.check(self._lifetime.revoked_by)

    # -- to the client ---------------------------------------------------------------------------

    def send(self, frame: frames.ServerFrame) -> None:
        """Send a frame, unless the session has ended."""
        if self._state is not State.CLOSED:
            self._wire.send(codec.encode(frame))

    def answer(self, request_id: int, answer: Struct | None) -> None:
        """Answer a request with ok, unless the session has ended."""
        if self._state is not State.CLOSED:
            self.intake.answered()
            self._wire.send(codec.encode_ok(request_id, answer))
            if self._wire.congested and self._wire.waiting > MAX_WAITING:
                self.close(codes.SLOW_CONSUMER)

    def refuse(self, request_id: int, refused: Refused) -> None:
        """Answer a request with an error; id 0 answers none."""
        self._notes.refused(self.id, self._reader, refused)
        code, text = refused.code.number, str(refused)
        self.send(frames.Error(request_id, code, text, refused.retry_after, refused.details))
        if self.intake.refused(refused.code):
            self.close(codes.TOO_MANY_REFUSALS)

    def go_away(self, reconnect_in: float) -> None:
        """This gateway is leaving: whatever is asked from now on, the client asks again elsewhere.
        To be closed once it is `idle`. `reconnect_in` is in seconds."""
        if self._state is State.LIVE:
            self.send(frames.Goaway(reconnect_in))
            self._state = State.LEAVING

    def close(self, code: codes.CloseCode, reason: str = "") -> None:
        """End the session. `reason` must hold nothing the client wrote."""
        if not self.is_closed():
            self._notes.closed(self.id, self._reader, code)
            self._cause = Cause("gateway", code.number)
            self._wire.close(code, reason)
            self.disconnected()

    def fault(self) -> None:
        """End the session, because of a fault of ours."""
        self.close(codes.INTERNAL_ERROR)

    def disconnected(self) -> None:
        """The connection is gone, or ends now."""
        if self.is_closed():
            return
        self._state = State.CLOSED
        self._timing.wheel.cancel(self)
        if self._lifetime is not None:
            self._lifetime.end()
        if self._tap is not None and self._cause.by != "gateway":  # else its wire has told
            self._tap.closed("in", self._cause.code)
        if self._reader is not None:
            self._entrance.leave(self, self._entered)
        if self._delivery is not None and self._entered is not None:
            self._notes.left(self.reader, self._entered.tier.name, self._cause)
            self._delivery.stop(self._cause)
        if self._requests is not None:
            self._requests.end()


_HANDLERS: Final[dict[type, Callable[[Session, Any], None]]] = {
    frames.Connect: lambda session, frame: session.refuse(
        frame.id, Refused(codes.ALREADY_CONNECTED)
    ),
    frames.Ack: Session._on_ack,
    frames.Renew: Session._on_renew,
    frames.Ping: lambda session, _: session.send(frames.Pong()),
    frames.Pong: lambda *_: None,  # being heard is all there is to it
}
