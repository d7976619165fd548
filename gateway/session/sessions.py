"""The sessions of a process: one is made for each connection."""

from __future__ import annotations

import secrets

from homeport.limits import CONNECT_TIMEOUT_S

from gateway.session.connecting import Connector
from gateway.session.entrance import Entrance
from gateway.session.notes import SessionNotes
from gateway.session.session import Session
from gateway.session.timing import Timing
from gateway.session.wire import Wire
from gateway.store.events import SESSION_ID_CHARS
from gateway.store.presence import GATEWAY_CHARS


class Sessions:
    """One per process. `gateway` ends the sessions' ids, which tells them from others'."""

    def __init__(
        self,
        entrance: Entrance,
        notes: SessionNotes,
        timing: Timing,
        connector: Connector,
        gateway: str,
    ) -> None:
        self._entrance = entrance
        self._notes = notes
        self._timing = timing
        self._connector = connector
        self._gateway = gateway

    def open(self, wire: Wire, bearer: str | None, opened: float) -> Session:
        """The session of a connection that was accepted at `opened`, in steady seconds. `bearer` is
        the token of the upgrade's Authorization header, if any."""
        session = Session(
            self._entrance,
            self._notes,
            self._timing,
            self._connector.begin,
            wire,
            id=secrets.token_hex(SESSION_ID_CHARS // 2)[:-GATEWAY_CHARS] + self._gateway,
            bearer=bearer,
        )
        self._timing.wheel.schedule(session, opened + CONNECT_TIMEOUT_S)
        return session
