"""One connection after the other: token, handshake, frames, heartbeat, reconnect.

`Reconnector.run` is the client's only lasting task. Frames are handled as they arrive, in the
callback of the connection, without a task per message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from websockets.exceptions import WebSocketException

from homeport import codes, frames
from homeport.client import ending
from homeport.client.address import Address
from homeport.client.backoff import CAP_S, Backoff
from homeport.client.connection import CLIENT, CLOSE_TIMEOUT_S, Connection
from homeport.client.consumer import Consumer
from homeport.client.errors import (
    ClientClosed,
    ConnectFailed,
    CursorFileError,
    UserChanged,
    error_name,
)
from homeport.client.events import (
    Connected,
    Disconnected,
    Event,
    Receipt,
    Signal,
    TokenExpiring,
    Transient,
)
from homeport.client.inbox import OutOfOrder
from homeport.client.message import Message
from homeport.client.opening import OPEN_TIMEOUT_S, dial
from homeport.client.outgoing import Outgoing
from homeport.client.owner import Owner, owner_of
from homeport.client.tokens import GetToken, NoToken, fetch
from homeport.codec import FrameError, UnknownType, decode_server, encode
from homeport.frames import NO_REQUEST, ServerFrame

_log = logging.getLogger("homeport.client")

SILENT_HEARTBEATS: Final = 2.5
"""Heartbeats of silence after which the connection is taken for dead."""

_PING: Final = encode(frames.Ping())
_PONG: Final = encode(frames.Pong())

LOG_EVERY: Final = 10
"""Of attempts that fail in a row, the first and then each tenth are logged."""


@dataclass(frozen=True, slots=True)
class Login:
    """Where a client connects, and as what. The arguments of `Client` have these names."""

    address: Address
    device: str
    platform: str
    ephemeral: bool
    token: str | None = field(repr=False)
    get_token: GetToken | None


class Part(Protocol):
    """A part of a client that begins anew with each connection, and takes some frames."""

    def connected(self) -> None:
        """A session is live."""

    def disconnected(self) -> None:
        """The connection is gone."""

    def receive(self, frame: ServerFrame) -> bool:
        """Take a frame; False where it is none of this part's."""


class Reconnector:
    """Keeps `consumer`, `outgoing` and the other `parts` supplied with a connection."""

    def __init__(
        self,
        login: Login,
        consumer: Consumer,
        outgoing: Outgoing,
        parts: Sequence[Part],
        tell: Callable[[Event], None],
        backoff: Backoff,
    ) -> None:
        self._login = login
        self._address = login.address
        self._token = login.token
        self._get_token = login.get_token
        self._consumer = consumer
        self._outgoing = outgoing
        self._parts = parts
        self._tell = tell
        self._backoff = backoff
        self._live: asyncio.Future[None]
        self._renewal: asyncio.Task[None] | None = None
        self._owner: Owner | None = None  # of all that outlives a connection
        self._end: ClientClosed | CursorFileError | None = None  # what this side found final
        # Of the present connection.
        self._connection: Connection | None = None
        self._connect_id = 0
        self._claimed: Owner | None = None  # whom its token is for
        self._live_since: float | None = None
        self._refusal: frames.Error | None = None
        self._renewing: tuple[int, str] | None = None  # request id, token
        self._back_at = 0.0  # the loop's time that a goaway told

    async def run(self, live: asyncio.Future[None]) -> None:
        """Connect, and connect again, until that can't work any more.

        `live` becomes done when the first session is live.

        Raises:
            ClientClosed, CursorFileError: why.
        """
        self._live = live
        try:
            await self._keep_connected()
        except ClientClosed as end:
            self._tell(Disconnected(end.code, end.reason, False, None))
            raise
        except CursorFileError as end:
            self._tell(Disconnected(None, str(end), False, None))
            raise
        except Exception as fault:
            reason = f"a fault of the SDK ended the client: {type(fault).__name__}"
            _log.exception("%s", reason)
            self._tell(Disconnected(None, reason, False, None))
            raise ClientClosed(reason) from fault
        finally:
            self._forget_connection()

    async def _keep_connected(self) -> None:
        failures = failed = 0
        while True:
            retry = await self._attempt(self._get_token)
            lived = self._forget_connection()
            # Only a connection that lasted shows that things are well again; else a gateway
            # that accepts and drops would be called five times a second.
            failures = 1 if lived is not None and lived >= CAP_S else failures + 1
            failed = failed + 1 if lived is None else 0
            delay = retry.after + self._backoff.delay(failures)
            if lived is not None:
                where = self._address.host_and_port
                _log.info("the connection to %s ended: %s", where, retry.reason)
            elif failed == 1 or failed % LOG_EVERY == 0:
                self._log_failure(failed, retry.reason)
            self._tell(Disconnected(retry.code, retry.reason, True, delay))
            await self._backoff.sleep(delay)

    def _log_failure(self, failed: int, reason: str) -> None:
        many = "" if failed == 1 else f" for the {failed}th time"
        where = self._address.host_and_port
        _log.warning("no connection to %s%s: %s; it is tried again", where, many, reason)

    async def _attempt(self, get_token: GetToken | None) -> ending.Retry:
        """One connection from dialling to its end. Raises `ClientClosed` if that is final."""
        token_is_new = self._token is None
        if self._token is None:
            assert get_token is not None, "without it, a refused token is final"
            try:
                self._token = await fetch(get_token)
            except NoToken as error:
                return ending.Retry(None, str(error))
        self._claimed = owner_of(self._token)
        if self._claimed is not None:
            self._admit(self._claimed)
        try:
            connection = await dial(self._address)
        except (OSError, WebSocketException, ImportError, ValueError) as error:
            reason = ending.describe(
                error,
                tls=self._address.tls is not None,
                may_use_proxy=self._address.may_use_proxy,
            )
            if not self._live.done() and ending.is_misconfigured(error):
                raise ConnectFailed(reason) from error
            return ending.Retry(None, reason, ending.retry_after(error))
        self._connection = connection
        self._connect_id = self._outgoing.next_id()
        connection.receive = self._received
        connection.watch(OPEN_TIMEOUT_S)
        connection.write(
            encode(
                frames.Connect(
                    self._connect_id,
                    self._login.device,
                    self._token,
                    self._consumer.cursor,
                    CLIENT,
                    self._login.platform,
                    self._login.ephemeral,
                )
            )
        )
        try:
            code, reason = await connection.closed()
        finally:
            await connection.close()
        if self._end is not None:
            raise self._end
        ended = ending.Ended(
            code,
            reason,
            self._refusal,
            connection.fault,
            max(0.0, self._back_at - _now()),
        )
        retry = ending.judge(ended, can_renew=get_token is not None, token_is_new=token_is_new)
        if retry.new_token:
            self._token = None
        return retry

    def _forget_connection(self) -> float | None:
        """Clear what belonged to it; returns how many seconds it was live, None if it never was."""
        lived = None if self._live_since is None else _now() - self._live_since
        self._connection = self._live_since = self._refusal = None
        self._back_at = 0.0  # the loop's time that a goaway told
        self._connect_id = 0
        self._claimed = None
        self._renewing = None
        self._consumer.disconnected()
        self._outgoing.disconnected()
        for part in self._parts:
            part.disconnected()
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        return lived

    # --- frames -------------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        """Handle one message from the server."""
        connection = self._connection
        assert connection is not None, "a connection is forgotten only after it was closed"
        try:
            frame = decode_server(data)
            if self._live_since is None:
                self._connect_answered(connection, frame)
            else:
                self._handle(connection, frame)
        except UnknownType:
            return  # of a newer server; what this client relies on, it knows
        except (FrameError, OutOfOrder) as fault:
            connection.drop(str(fault))
        except (UserChanged, CursorFileError) as end:
            self._give_up(end)

    def _admit(self, owner: Owner) -> None:
        """Continue only for the app and user that this client began with, and the cursor file's
        owner.

        Raises:
            UserChanged, CursorFileForeign: `owner` is another.
        """
        differs = None if self._owner is None else self._owner.differs(owner)
        if differs is not None:
            raise UserChanged(differs)
        self._consumer.admit(owner)

    def _give_up(self, end: ClientClosed | CursorFileError) -> None:
        """End the client by `end`; nothing more is read or written."""
        self._end = end
        if self._connection is not None:
            self._connection.drop(str(end))

    def _connect_answered(self, connection: Connection, frame: ServerFrame) -> None:
        if isinstance(frame, frames.Connected) and frame.id == self._connect_id:
            owner = Owner(self._claimed.app if self._claimed else "", frame.user)
            self._admit(owner)
            events = self._consumer.connected(connection, frame, owner)
            self._owner = owner
            self._live_since = _now()
            connection.watch(frame.heartbeat * SILENT_HEARTBEATS, _PING)
            self._tell(
                Connected(
                    frame.resumed,
                    frame.region,
                    frame.user,
                    frame.session,
                    frame.expires,
                    frame.limits,
                )
            )
            for event in events:
                self._tell(event)
            self._outgoing.connected(connection, frame.limits.dedupe_ms)
            for part in self._parts:
                part.connected()
            if not self._live.done():
                self._live.set_result(None)
        elif isinstance(frame, frames.Error) and frame.id in (self._connect_id, NO_REQUEST):
            self._refusal = frame
            connection.watch(CLOSE_TIMEOUT_S)  # the server closes, if the connect was readable
        else:
            connection.drop("the server did not answer connect first")

    def _handle(self, connection: Connection, frame: ServerFrame) -> None:
        match frame:
            case frames.Push():
                self._consumer.push(frame)
            case frames.Reset():
                self._consumer.reset(frame)
            case frames.Ok() if self._renewing is not None and frame.id == self._renewing[0]:
                self._token = self._renewing[1]
            case frames.Error(id=id, code=codes.TOKEN_OTHER_USER.number) if (
                self._renewing is not None and id == self._renewing[0]
            ):
                self._give_up(UserChanged("user"))
            case frames.Ok():
                self._outgoing.accepted(frame)
            case frames.Error():
                if not self._outgoing.refused(frame):
                    # A refused renewal too: the session goes on until its token ends, and the
                    # reconnect after that gets another one.
                    _log.warning("the server answered with error %s", error_name(frame.code))
            case frames.Lost():
                for event in self._consumer.lost(frame):
                    self._tell(event)
            case frames.Signaled(sender, to, kind, body):
                self._tell(Signal(sender, to, kind, body))
            case frames.Transient(message=message):
                self._tell(Transient(Message.of(message, self._consumer.user, 0)))
            case frames.Receipt(peer=peer, user=user, delivered=delivered, read=read):
                self._tell(Receipt(peer, user, delivered, read))
            case frames.Ping():
                connection.write(_PONG)
            case frames.Pong():
                pass  # that it was heard is what counts
            case frames.Expiring(expires=expires):
                self._tell(TokenExpiring(expires))
                if self._get_token is not None and self._renewal is None:
                    self._renewal = asyncio.create_task(self._renew(self._get_token))
            case frames.Goaway(reconnect_in=seconds):
                self._back_at = _now() + seconds
            case _ if any(part.receive(frame) for part in self._parts):
                pass
            case _:
                connection.drop(f"the server sent a {type(frame).__name__} out of place")

    async def _renew(self, get_token: GetToken) -> None:
        try:
            token = await fetch(get_token)
        except NoToken as error:
            _log.warning("%s; the token was not renewed", error)
            return
        finally:
            self._renewal = None
        try:
            if (owner := owner_of(token)) is not None:
                self._admit(owner)
        except (UserChanged, CursorFileError) as end:
            self._give_up(end)
            return
        if self._connection is not None:
            self._renewing = (self._outgoing.next_id(), token)
            self._connection.write(encode(frames.Renew(*self._renewing)))


def _now() -> float:
    return asyncio.get_running_loop().time()
