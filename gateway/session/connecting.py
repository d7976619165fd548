"""From a connect frame to a live session: the token, the limits, the channel, the inbox."""

from __future__ import annotations

import asyncio

from homeport import codes, frames
from homeport.limits import CONNECT_TIMEOUT_S, DEDUPE_WINDOW_MS, WINDOW

from gateway.apps.app import App
from gateway.chat.chat import Chat
from gateway.chat.principal import Principals
from gateway.chat.refused import Refused, refusal
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.security.tokens import Identity
from gateway.session.blockers import BlockerWatch
from gateway.session.delivery import Delivery
from gateway.session.entrance import Entrance
from gateway.session.handshake import close_code
from gateway.session.hold import DeviceHold
from gateway.session.inboxes import Attached, SessionInboxes
from gateway.session.notes import SessionNotes
from gateway.session.requests import Requests
from gateway.session.saving import Saving
from gateway.session.session import Session
from gateway.session.timing import Timing
from gateway.store.readers import Reader
from gateway.tasks import Tasks


class Connector:
    """One per process: makes what a session has once it is connected.

    A session may end while this waits for something; then it goes no further.
    """

    def __init__(
        self,
        entrance: Entrance,
        inboxes: SessionInboxes,
        chat: Chat,
        principals: Principals,
        notes: SessionNotes,
        timing: Timing,
        *,
        tasks: Tasks,
    ) -> None:
        self._entrance = entrance
        self._inboxes = inboxes
        self._chat = chat
        self._principals = principals
        self._notes = notes
        self._timing = timing
        self._tasks = tasks
        self._saving = Saving()

    def begin(self, session: Session, frame: frames.Connect, token: str | None) -> None:
        """Connect `session`, in a task of its own, or refuse it. `token` is its user's."""
        work = self._connect(session, frame, token)
        self._tasks.spawn(work, session.fault)

    async def _connect(self, session: Session, frame: frames.Connect, token: str | None) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._authenticate_and_attach(session, frame, token)
        except TimeoutError:
            self._reject(session, frame.id, refusal(Unavailable("timeout")))
        except (Refused, OperationFailed) as error:
            self._reject(session, frame.id, refusal(error))

    def _reject(self, session: Session, request_id: int, refused: Refused) -> None:
        session.refuse_token(request_id, refused)
        session.close(close_code(refused))

    async def _authenticate_and_attach(
        self, session: Session, frame: frames.Connect, token: str | None
    ) -> None:
        entrance = self._entrance
        now_s = self._timing.clock.wall()
        app, identity = await entrance.authenticate(session.id, token, now_s)
        if session.is_closed():
            return
        reader = Reader(app.id, identity.user, frame.device, session.id, frame.ephemeral)
        session.identified(reader, identity)
        if not await entrance.enter(session, app, frame):
            return
        # Before attaching, so that what is left of its limits is known once that is answered.
        user = self._principals.connecting(app, reader)
        counts = self._notes.counts
        requests = Requests(self._chat, self._tasks, counts, session, user)
        blockers = BlockerWatch(
            self._principals.blockers, entrance.presence, self._tasks, user, session.fault
        )
        session.entered(app, requests, blockers)
        # First the channel, then the inbox: what is stored in between is heard, or read, or both.
        if not await entrance.join(session):
            return
        attached = await self._inboxes.attach(reader, app, identity, frame)
        hold = DeviceHold(
            self._inboxes,
            self._saving,
            self._tasks,
            reader,
            attached,
            end=session.close,
            blocks=blockers.compare,
        )
        try:
            await blockers.attached(attached.block_change)
        except BaseException:
            hold.release()
            raise
        if session.is_closed():
            hold.release(session.cause)  # the client left meanwhile: give the device free again
            return
        if not identity.holds(entrance.app(app.id)):
            hold.release()  # the app changed after the token was looked at, and before `join`
            raise Refused(codes.TOKEN_REVOKED)
        if frame.cursor is not None and frame.cursor.epoch != attached.cursor.epoch:
            counts.epoch_changes += 1
        delivery = Delivery(
            self._inboxes,
            counts,
            self._tasks,
            session.wire,
            hold,
            session.close,
            seen_ms=attached.seen_ms,
        )
        connected = self._connected(frame.id, session.id, app, identity, attached)
        session.go_live(connected, delivery, attached.page)

    def _connected(
        self, request_id: int, session_id: str, app: App, identity: Identity, attached: Attached
    ) -> frames.Connected:
        return frames.Connected(
            id=request_id,
            session=session_id,
            region=app.region,
            user=identity.user,
            heartbeat=self._timing.heartbeat_s,
            expires=identity.expires_s,
            cursor=attached.cursor,
            resumed=attached.resumed,
            lost=attached.lost,
            limits=frames.Limits(app.tier.max_body, WINDOW, DEDUPE_WINDOW_MS),
        )
