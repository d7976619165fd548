"""The door of a worker: sessions over WebSocket, on the addresses of its settings."""

from __future__ import annotations

from gateway.address import Address
from gateway.config import Settings
from gateway.net.listener import Listener
from gateway.net.origins import Origins
from gateway.net.tls import Certificate
from gateway.net.upgrade import Upgrades
from gateway.runtime.backend import Backend
from gateway.runtime.reload import Part
from gateway.runtime.starting import Listening, cannot_listen
from gateway.session.app_limit import AppLimit
from gateway.session.connecting import Connector
from gateway.session.counts import Counts
from gateway.session.entrance import Entrance
from gateway.session.handshake import Handshake
from gateway.session.inboxes import SessionInboxes
from gateway.session.notes import SessionNotes
from gateway.session.session import Session
from gateway.session.sessions import Sessions
from gateway.session.timing import Timing
from gateway.session.tracing import Tracer
from gateway.tasks import Tasks


class WebSocketDoor:
    """Lets clients in to what `backend` offers. `shared` addresses are those of other workers too.

    Attributes:
        counts: what the sessions count.
        tracer: what an operator sees of one user's sessions.
        listener: the listening sockets and their connections.
        parts: what takes up settings that changed, by the names of `gateway.runtime.reload.LIVE`.
    """

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        certificate: Certificate | None,
        timing: Timing,
        tasks: Tasks,
        *,
        shared: bool,
    ) -> None:
        core, hubs = backend.core, backend.hubs
        self._settings = settings
        self._certificate = certificate
        self._users = hubs.users
        self.counts = Counts()
        notes = SessionNotes(self.counts, core.sealer.names)
        self.tracer = Tracer(
            core.keys,
            backend.link,
            core.sealer,
            timing.clock,
            gateway=(backend.gateway, backend.where),
            sessions=self._sessions_of,
        )
        handshake = Handshake(settings.region, settings.directory, backend.directory)
        app_limit = AppLimit(backend.headcount, backend.presence.tell)
        entrance = Entrance(handshake, backend.limits, app_limit, self.tracer, hubs)
        framing = backend.framing
        inboxes = SessionInboxes(
            backend.stores.inboxes,
            framing.records,
            framing.lateness,
            backend.directory,
            timing.clock,
        )
        connector = Connector(
            entrance, inboxes, backend.chat, backend.principals, notes, timing, tasks=tasks
        )
        sessions = Sessions(entrance, notes, timing, connector, backend.gateway)
        origins = Origins(settings.origins, settings.allow_missing_origin)
        upgrades = Upgrades(origins, self.counts)
        self.listener = Listener(sessions, timing, upgrades, settings, shared=shared)
        if certificate is not None:
            certificate.adopt = self.listener.use_certificate
        self.parts: dict[str, Part] = {
            "origins": origins.adopt,
            "directory": handshake.adopt,
            "protection": self.listener.adopt,
        }

    def listen(self) -> Listening:
        """Accept connections. `listener.stop` ends it.

        Raises:
            StartError: an address can't be had.
        """
        return Listening(
            self._listen(self._settings.wss_listen, secure=True),
            self._listen(self._settings.plain_listen, secure=False),
        )

    def _listen(self, where: str | None, secure: bool) -> tuple[Address, ...]:
        settings = self._settings
        tls = self._certificate.context if secure and self._certificate else None
        proxied = settings.wss_proxy_protocol if secure else settings.plain_proxy_protocol
        found = []
        for address in Address.parse_all(where):
            try:
                found.append(self.listener.listen(address, tls, proxied=proxied))
            except OSError as error:
                raise cannot_listen(str(address), error) from error
        return tuple(found)

    def _sessions_of(self, app_id: str, user: str) -> list[Session]:
        found = self._users.of_user(app_id, user)
        return [session for session in found if isinstance(session, Session)]
