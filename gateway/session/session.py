"""A session: one client's connection, from its first frame to its end.

The states, which only go down the list:

======== ===============================================================================
OPENED   waiting for connect, with a deadline
CHECKING the token is being verified, the channel subscribed, the inbox opened
LIVE     pushes, sends and acknowledgements
LEAVING  the gateway drains: pushes, acknowledgements, and answers to earlier requests
CLOSED   a close frame was sent, or the connection is gone; nothing is sent any more
======== ===============================================================================
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any, Final

import structlog
from msgspec import Struct

from gateway.apps.app import App
from gateway.chat.refused import Refused, refusal
from gateway.payload import Bundle, Payload
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.security import tokens
from gateway.session.counts import TOKEN_REFUSALS
from gateway.session.deadlines import Deadlines, Due
from gateway.session.delivery import Delivery
from gateway.session.handshake import BadToken, close_code
from gateway.session.hold import DeviceHold
from gateway.session.requests import Requests
from gateway.session.services import Services, Wire
from gateway.session.tracing import Tap, TracedWire
from gateway.session.window import AckAhead
from gateway.store import events
from gateway.store.endings import BROKEN_OFF, Cause
from gateway.store.errors import AppNotFound
from gateway.store.presence import GATEWAY_CHARS
from gateway.store.readers import Arrival, Reader
from protocol import codec, codes, frames
from protocol.ids import is_device_id
from protocol.limits import (
    CONNECT_TIMEOUT_S,
    DEDUPE_WINDOW_MS,
    WINDOW,
)

CHECK_INTERVAL_S: Final = 30.0
ROOM_WAITING: Final = {
    frames.Priority.LOW: 0,
    frames.Priority.NORMAL: 128 * 1024,
    frames.Priority.HIGH: 256 * 1024,
}
"""Bytes waiting for a client that has fallen behind past which room messages of a priority are
dropped for it."""

_log = structlog.get_logger("session")


class State(IntEnum):
    """See the module's table."""

    OPENED = 0
    CHECKING = 1
    LIVE = 2
    LEAVING = 3
    CLOSED = 4


class Session:
    """One connection. `bearer` is the token of the upgrade's Authorization header, if any.

    The connection calls `receive`, `receive_text`, `writable` and `disconnected`; the hub calls
    the ``on_`` methods; the wheel calls `visit`.
    """

    __slots__ = (
        "_bearer",
        "_cause",
        "_checked_at",
        "_congested_since",
        "_deadlines",
        "_delivery",
        "_early_top",
        "_entered",
        "_hold",
        "_identity",
        "_opened",
        "_reader",
        "_recheck",
        "_requests",
        "_services",
        "_state",
        "_tap",
        "_tier",
        "_wire",
        "id",
    )

    def __init__(self, services: Services, wire: Wire, bearer: str | None, opened: float) -> None:
        # A gateway's sessions are told from others' by the end of their ids (`store.presence`).
        self.id = secrets.token_hex(events.SESSION_ID_CHARS // 2)[:-GATEWAY_CHARS]
        self.id += services.gateway
        self._services = services
        self._wire = wire
        self._bearer = bearer
        self._opened = opened
        self._state = State.OPENED
        self._checked_at = opened
        self._tap: Tap | None = None  # where an operator traces the user
        self._cause = BROKEN_OFF  # until one side says that it ends the session
        self._congested_since: float | None = None
        self._early_top = 0
        self._recheck = False
        self._entered: App | None = None
        self._identity: tokens.Identity | None = None
        self._reader: Reader | None = None
        self._delivery: Delivery | None = None
        self._hold: DeviceHold | None = None
        self._deadlines: Deadlines | None = None
        self._requests: Requests | None = None
        self._tier: str | None = None  # of its app, as it was counted
        services.wheel.schedule(self, opened + CONNECT_TIMEOUT_S)

    @property
    def app_id(self) -> str:
        """The app, once the token is verified."""
        return self._who.app_id

    @property
    def user(self) -> str:
        """The user, once the token is verified."""
        return self._who.user

    @property
    def reader(self) -> Reader:
        """The device, user and app of the session, once the token is verified."""
        return self._who

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
        return self._requests is None or self._requests.open == 0

    def _closed(self) -> bool:
        return self._state is State.CLOSED

    @property
    def _who(self) -> Reader:
        assert self._reader is not None, "the session is not authenticated"
        return self._reader

    # -- from the client -----------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take one binary message."""
        if self._closed():
            return
        if self._tap is not None:
            self._tap.received(data)
        if self._deadlines is not None:
            self._deadlines.heard(self._services.clock.steady())
        try:
            frame = codec.decode_client(data)
        except codec.MalformedFrame as error:
            self.close(codes.BAD_FRAME, str(error))
            return
        except codec.FrameError as error:
            self.refuse(error.request_id, Refused(error.code, str(error)))
            return
        self._services.counts.frames[type(frame)] += 1
        if self._state is State.LIVE:
            handler = _HANDLERS.get(type(frame))
            if handler is not None:
                handler(self, frame)
            elif self._requests is not None:
                self._requests.handle(frame)
        elif isinstance(frame, frames.Connect) and self._state is State.OPENED:
            self._connect(frame)
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
            self._services.counts.slow_consumers += 1
        # Not to read what can't be answered keeps the answers' memory bounded too.
        self._congested_since = None if writable else self._services.clock.steady()
        self.throttle()
        if writable and self._delivery is not None:
            self._delivery.catch_up()

    def left(self, code: int) -> None:
        """The client says that it ends the connection, with this close code; `disconnected`
        follows."""
        if not self._closed():
            self._cause = Cause("client", code)

    def disconnected(self) -> None:
        """The connection is gone."""
        self._finish()

    def throttle(self) -> None:
        """Read the client only while it reads us, and not too many requests are open."""
        if not self._closed():
            asks_too_much = self._requests is not None and self._requests.too_many
            self._wire.throttle(self._congested_since is not None or asks_too_much)

    # -- connect -------------------------------------------------------------------------------

    def _connect(self, frame: frames.Connect) -> None:
        if not is_device_id(frame.device):
            self.refuse(frame.id, Refused(codes.INVALID_FIELD, "`device` has a wrong form."))
            return
        self._state = State.CHECKING
        self._services.tasks.spawn(self._open(frame), partial(self.close, codes.INTERNAL_ERROR))

    async def _open(self, frame: frames.Connect) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._authenticate_and_attach(frame)
        except Refused as refused:
            self._reject(frame.id, refused)
        except TimeoutError:
            self._reject(frame.id, refusal(Unavailable("timeout")))
        except OperationFailed as error:
            self._reject(frame.id, refusal(error))

    async def _authenticate_and_attach(self, frame: frames.Connect) -> None:
        services = self._services
        token = frame.token if frame.token is not None else self._bearer
        app, identity = await services.handshake.authenticate(token, services.clock.wall())
        if self._closed():
            return
        self._reader = reader = Reader(
            app.id, identity.user, frame.device, self.id, frame.ephemeral
        )
        tap = services.tracer.joined(self)
        if tap is not None:
            tap.asked(frame)
        services.limits.connect(app.id, identity.user)
        await services.app_limit.enter(app)
        if self._closed():
            services.app_limit.leave(app)
            return
        self._entered = app
        self._bearer = None
        self._identity = identity
        # Before attaching, so that what is left of its limits is known once that is answered.
        self._requests = requests = Requests(services, self, reader, app)
        if tap is None:
            services.tracer.joined(self)  # it may have begun while the app's limit was asked for
        # First the channel, then the inbox: what is stored in between is heard, or read, or both.
        await services.hub.join(self)
        if self._closed():
            return
        attached = await services.inboxes.attach(
            reader,
            app.tier,
            Arrival(identity.issued_s * 1000, frame.cursor, frame.platform),
            services.clock.wall_ms(),
            app.device_policy,
        )
        hold = DeviceHold(services, reader, attached, self.close, requests.compare_blocks)
        if self._closed():
            hold.release(self._cause)  # the client left meanwhile: give the device free again
            return
        if not identity.holds(services.directory.known(app.id)):
            hold.release()  # the app changed after the token was looked at, and before `join`
            raise Refused(codes.TOKEN_REVOKED)
        self._hold = hold
        self._delivery = delivery = Delivery(
            services, self._wire, hold, attached.seen_ms, self.close
        )
        requests.attached(attached.blocked_by)
        self._state = State.LIVE
        self._tier = app.tier.name
        services.counts.sessions[self._tier] += 1
        if frame.cursor is not None and frame.cursor.epoch != attached.cursor.epoch:
            services.counts.epoch_changes += 1
        self._wire.authenticated()
        self.send(
            frames.Connected(
                id=frame.id,
                session=self.id,
                region=app.region,
                user=identity.user,
                heartbeat=services.heartbeat_s,
                expires=identity.expires_s,
                cursor=attached.cursor,
                resumed=attached.resumed,
                lost=attached.lost,
                limits=frames.Limits(app.tier.max_body, WINDOW, DEDUPE_WINDOW_MS),
            )
        )
        delivery.start(attached.entries, self._early_top)
        now, wall = services.clock.steady(), services.clock.wall()
        services.lines.often(
            now, "connected", **self._named(), resumed=attached.resumed, ephemeral=frame.ephemeral
        )
        self._checked_at = now
        if self._recheck:
            self.check()
        deadlines = Deadlines(services.heartbeat_s, now, identity.expires_s, wall)
        self._deadlines = deadlines
        services.wheel.schedule(self, self._next_visit(deadlines, now, wall))

    def _reject(self, request_id: int, refused: Refused) -> None:
        self._refuse_token(request_id, refused)
        self.close(close_code(refused))

    def _refuse_token(self, request_id: int, refused: Refused) -> None:
        if refused.code in TOKEN_REFUSALS:
            self._services.counts.token_refusals[refused.code.name] += 1
        self.refuse(request_id, refused)

    # -- frames of a live session that ask for nothing in the store ------------------------------

    def _on_connect(self, frame: frames.Connect) -> None:
        self.refuse(frame.id, Refused(codes.ALREADY_CONNECTED))

    def _on_ack(self, frame: frames.Ack) -> None:
        assert self._delivery is not None
        try:
            self._delivery.ack(frame.seq)
        except AckAhead as error:
            self.refuse(frames.NO_REQUEST, Refused(codes.ACK_AHEAD, f"The last was {error.sent}."))

    def _on_renew(self, frame: frames.Renew) -> None:
        assert self._identity is not None
        assert self._deadlines is not None
        now, wall = self._services.clock.steady(), self._services.clock.wall()
        try:
            identity = self._services.handshake.renew(
                frame.token, self._app(), self._identity, wall
            )
        except Refused as refused:
            self._refuse_token(frame.id, refused)
            return
        except AppNotFound as error:
            self._refuse_token(frame.id, refusal(error))
            return
        self._identity = identity
        self._deadlines.renewed(identity.expires_s, wall)
        self.answer(frame.id, frames.Renewed(identity.expires_s))
        self._services.wheel.schedule(self, self._next_visit(self._deadlines, now, wall))

    def _on_ping(self, _: frames.Ping) -> None:
        self.send(frames.Pong())

    def _on_pong(self, _: frames.Pong) -> None:
        """Being heard is all there is to it."""

    def _app(self) -> App:
        return self._services.directory.known(self.app_id)

    # -- from the hub ----------------------------------------------------------------------------

    def on_stored(self, seq: int, ms: int, push: Payload) -> None:
        """Number `seq` was stored in the user's inbox; `push` is its push, not framed yet."""
        if self._delivery is not None:
            self._delivery.stored(seq, ms, push)
        else:
            self._early_top = max(self._early_top, seq)

    def on_relayed(self, payload: Payload) -> None:
        """Send a payload that is stored nowhere; a client that does not keep up misses it."""
        if self._state is State.LIVE and not self._wire.congested:
            self._wire.send(payload)

    def on_room(self, payload: Payload | Bundle, priority: int) -> bool:
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
        return self._requests is not None and self._requests.blocked_by(user)

    def on_unreadable(self) -> None:
        """A message came whose key this gateway lacks; another gateway may have it."""
        self.close(codes.STORE_UNAVAILABLE)

    def on_event(self, event: events.Told) -> None:
        """Something else happened to the user."""
        assert self._identity is not None
        reader = self._who
        if isinstance(event, events.Revoked):
            if self._issued_ms() < event.before_ms:
                self.close(codes.REVOKED)
        elif isinstance(event, events.Kicked):
            if event.device in ("", reader.device):
                self.close(codes.KICKED)
        elif isinstance(event, events.BlockChanged):
            if self._requests is not None:
                self._requests.hear(event, live=self._state is State.LIVE)
        elif isinstance(event, events.Displaced):
            if event.session == self.id:
                self.close(codes.DEVICE_LIMIT)
        elif event.device == reader.device and event.session != self.id and not reader.ephemeral:
            # Which of the two came last, only the store knows: the word may be late.
            self._recheck = self._state is not State.LIVE
            self.doubt()
            self.check()

    def on_app_changed(self, app: App) -> None:
        """The certificate that signed this session's token may be gone, or the token void."""
        assert self._identity is not None
        if not self._identity.holds(app):
            self.close(codes.REVOKED)

    def on_app_deleted(self) -> None:
        """The app is gone, and with it everything it had."""
        self.close(codes.APP_DELETED)

    def doubt(self) -> None:
        """Push nothing until `check` has found that the inbox still has the same numbering."""
        if self._delivery is not None and self._hold is not None:
            self._delivery.doubt()
            self._hold.doubt()

    def check(self) -> None:
        """Compare with the store. A session that is still connecting reads the store anyway."""
        if self._delivery is not None and self._hold is not None and self._state is State.LIVE:
            self._checked_at = self._services.clock.steady()
            self._hold.check(self._issued_ms, self._delivery.settled)

    def _issued_ms(self) -> int:
        assert self._identity is not None
        return self._identity.issued_s * 1000

    # -- time ------------------------------------------------------------------------------------

    def visit(self, now: float) -> float | None:
        """Do what is due at `now`; return when to visit again (both in steady seconds)."""
        if self._closed():
            return None
        if self._deadlines is None or self._identity is None:
            # While CHECKING, `_open` has a deadline of its own.
            if self._state is State.OPENED and now - self._opened >= CONNECT_TIMEOUT_S:
                self.close(codes.CONNECT_TIMEOUT)
            return now + CONNECT_TIMEOUT_S
        congested = self._congested_since
        too_slow = math.inf if congested is None else congested + 2 * self._services.heartbeat_s
        if now >= too_slow:
            self.close(codes.SLOW_CONSUMER)
            return None
        wall = self._services.clock.wall()
        for due in self._deadlines.visit(now, wall, listening=congested is None):
            if due is Due.PING:
                self.send(frames.Ping())
            elif due is Due.EXPIRING:
                self.send(frames.Expiring(self._identity.expires_s))
            else:
                self.close(_ENDS[due])
                return None
        if now - self._checked_at >= CHECK_INTERVAL_S:
            self.check()
        return min(self._next_visit(self._deadlines, now, wall), too_slow)

    def _next_visit(self, deadlines: Deadlines, now: float, wall: float) -> float:
        # A heartbeat may be longer than a connected device may go unseen.
        return min(deadlines.next_visit(now, wall), now + CHECK_INTERVAL_S)

    # -- to the client ---------------------------------------------------------------------------

    def send(self, frame: frames.ServerFrame) -> None:
        """Send a frame, unless the session has ended."""
        if not self._closed():
            self._wire.send(Payload(codec.encode(frame)))

    def answer(self, request_id: int, answer: Struct | None) -> None:
        """Answer a request with ok, unless the session has ended."""
        if not self._closed():
            self._wire.send(Payload(codec.encode_ok(request_id, answer)))

    def _named(self) -> dict[str, str]:
        """The fields of a line in the log that say of whom it is, by hashed names."""
        reader = self._reader
        if reader is None:
            return {"session": self.id}
        return {"session": self.id, **self._services.lines.named(reader.app_id, reader.user)}

    def refuse(self, request_id: int, refused: Refused) -> None:
        """Answer a request with an error; id 0 answers none."""
        self._services.counts.errors[refused.code.name] += 1
        named = self._named()
        if isinstance(refused, BadToken):
            named |= self._services.lines.named(refused.app_id, refused.user)
            if refused.app_id is not None and refused.user is not None:
                code = refused.code.number
                self._services.tracer.refused(refused.app_id, refused.user, self.id, code)
        _log.info("refused", code=refused.code.name, **named)
        code, text = refused.code.number, str(refused)
        self.send(frames.Error(request_id, code, text, refused.retry_after, refused.details))

    def go_away(self, reconnect_in: float) -> None:
        """This gateway is leaving: whatever is asked from now on, the client asks again elsewhere.
        To be closed once it is `idle`. `reconnect_in` is in seconds."""
        if self._state is State.LIVE:
            self.send(frames.Goaway(reconnect_in))
            self._state = State.LEAVING

    def close(self, code: codes.CloseCode, reason: str = "") -> None:
        """End the session. `reason` must hold nothing the client wrote."""
        if not self._closed():
            _log.info("closed", code=code.name, **self._named())
            self._services.counts.closes[code.name] += 1
            self._cause = Cause("gateway", code.number)
            self._wire.close(code, reason)
            self._finish()

    def _finish(self) -> None:
        if self._closed():
            return
        self._state = State.CLOSED
        if self._tier is not None:
            self._services.counts.sessions[self._tier] -= 1
            if self._cause.by != "gateway":  # else it was said
                now = self._services.clock.steady()
                by, code = self._cause
                self._services.lines.often(now, "left", by=by, code=code, **self._named())
        self._services.wheel.cancel(self)
        if self._tap is not None:
            if self._cause.by != "gateway":  # else its wire has told
                self._tap.closed("in", self._cause.code)
            self._services.tracer.gone(self)
        if self._entered is not None:
            self._services.app_limit.leave(self._entered)
        if self._reader is not None:
            self._services.hub.leave(self)
            self._services.rooms.gone(self.id)
            self._services.presence.gone(self.id)
        if self._delivery is not None and self._hold is not None:
            self._delivery.stop()
            self._hold.release(self._cause)
        if self._requests is not None:
            self._requests.end()


_ENDS: Final = {Due.SILENT: codes.PING_TIMEOUT, Due.EXPIRED: codes.SESSION_EXPIRED}

_HANDLERS: Final[dict[type, Callable[[Session, Any], None]]] = {
    frames.Connect: Session._on_connect,
    frames.Ack: Session._on_ack,
    frames.Renew: Session._on_renew,
    frames.Ping: Session._on_ping,
    frames.Pong: Session._on_pong,
}
