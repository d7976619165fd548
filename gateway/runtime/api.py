"""A process of the REST API, on `gateway.runtime.process`; and a gateway that has one in it."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from datetime import datetime

from gateway import sockets
from gateway.address import Address
from gateway.api.app import front
from gateway.api.auth import Auth, Homes
from gateway.api.cursors import Cursors
from gateway.api.server import Server
from gateway.api.services import Services
from gateway.config import Settings
from gateway.net.tls import Certificate
from gateway.ops.datagrams import Numbers
from gateway.runtime import usage
from gateway.runtime.process import Process
from gateway.runtime.starting import Listening, cannot_listen
from gateway.runtime.worker import Worker
from gateway.tasks import Tasks, nothing_to_undo


class ApiProcess(Process):
    """Answers apps' back ends on `api_listen`."""

    def _build(self) -> None:
        settings = self._settings
        backend, certificate = self._backend, self._certificate
        homes = Homes.of(settings)
        self.services = Services(
            Auth(homes, backend.directory, self._timing.clock),
            Cursors(backend.core.sealer),
            backend.principals,
            backend.chat,
            self._timing.clock,
        )
        self.front = front(self.services)
        context = None if certificate is None else certificate.context
        self.server = Server(self.front, context, 0.75 * settings.drain_s)
        if certificate is not None:
            certificate.adopt = self.server.use_certificate
        self._serving: asyncio.Task[None] | None = None
        self._reload({"directory": homes.adopt})
        backend.subscriber.on_up = self._look_again
        self._report(self._numbers)

    @staticmethod
    def certificate_of(settings: Settings, now: datetime) -> Certificate | None:
        """What the API shows; None where it speaks no TLS."""
        if not settings.api_tls or not settings.tls_cert or not settings.tls_key:
            return None
        return Certificate(settings.tls_cert, settings.tls_key, now)

    async def serve(self) -> Listening:
        """Listen."""
        found: list[Address] = []
        held: list[socket.socket] = []
        shared = self._folder is not None
        for address in Address.parse_all(self._settings.api_listen):
            try:
                each = sockets.listen(address, shared=shared)
            except OSError as error:
                for sock in held:
                    sock.close()
                raise cannot_listen(str(address), error) from error
            held += each
            found.append(Address(address.host, each[0].getsockname()[1]))
        self._serving = self._tasks.keep(self.server.run(held), "api", may_end=True)
        await self.server.accepts()
        return Listening(all_api=tuple(found))

    def hurry(self) -> None:
        """Leave without what is under way."""
        self.server.hurry()

    async def drain(self) -> None:
        """Answer what had come."""
        self.status.state = "draining"
        self.server.stop()
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)
        await self.services.aclose()

    async def settle(self) -> None:
        """Nothing more: whatever was answered is kept."""

    def _look_again(self) -> None:
        """Pub/sub was away: apps may have changed."""
        self._tasks.spawn(self._backend.directory.reload_all(), nothing_to_undo)

    def _numbers(self) -> Numbers:
        seen, link = self.front.seen, self._backend.link
        values: dict[str, float | dict[str, float]] = {
            "homeport_runtime_cpu_seconds_total": usage.cpu_s(),
            "homeport_runtime_resident_memory_bytes": usage.resident_bytes(),
            "homeport_store_link_queue_commands": link.queued,
            "homeport_runtime_reload_refused": int(self.reloading.refused),
            "homeport_api_connections": self.server.open,
            "homeport_api_answers_total": {**seen.answers},
        }
        return Numbers(
            values,
            {"homeport_api_request_seconds": (seen.seconds.cells, seen.seconds.total_s)},
        )


class WithApi(Worker):
    """A gateway of one process, for trying things out: sessions and the API."""

    def _build(self) -> None:
        super()._build()
        self._api_tasks = Tasks()  # its own, because each half ends its tasks at its end
        self.api = ApiProcess(self._settings, self._given_clock, name="api", tasks=self._api_tasks)

    async def serve(self) -> Listening:
        """Have both listen."""
        api = await self.api.start()
        self._keep("api", self._api_tasks.failed())
        return replace(await super().serve(), all_api=api.all_api)

    def hurry(self) -> None:
        """Leave at once."""
        super().hurry()
        self.api.hurry()

    async def drain(self) -> None:
        """Have both end."""
        await asyncio.gather(super().drain(), self.api.stop())
