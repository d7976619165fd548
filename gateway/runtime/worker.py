"""The worker: one gateway process, put together here, on `gateway.runtime.process`.

What happens on the way up, in order: keys, Redis and its stamp, pub/sub, listeners, ready. On the
way down: listeners, goaway, open sends, close, acknowledgements, Redis.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from gateway.config import Settings
from gateway.net.tls import Certificate
from gateway.runtime.door import WebSocketDoor
from gateway.runtime.drain import Drain
from gateway.runtime.measures import Measures
from gateway.runtime.process import Process
from gateway.runtime.recovery import Recovery
from gateway.runtime.starting import Listening
from gateway.store.sweeper import Sweeper

if TYPE_CHECKING:
    from gateway.hooks.dispatcher import Dispatcher


class Worker(Process):
    """One gateway in this process, with its sessions."""

    def _build(self) -> None:
        settings, folder = self._settings, self._folder
        backend, core = self._backend, self._backend.core
        # A process that is a whole gateway sends its webhooks, too.
        self._hooks = self._webhooks() if folder is None else None
        self._door = door = WebSocketDoor(
            backend,
            settings,
            self._certificate,
            self._timing,
            self._tasks,
            shared=folder is not None,
        )
        self._drain = Drain(door.listener, self.status, settings.drain_s)
        self._reload(door.parts)
        self._recovery = Recovery(backend.hubs, backend.directory, core.keys, self._tasks)
        backend.link.on_up = self._recovery.link_is_back
        backend.subscriber.on_up = self._recovery.pubsub_is_back
        backend.subscriber.on_missed = self._recovery.channels_are_back
        self._sweeper = Sweeper(
            backend.link,
            core.keys,
            backend.directory,
            backend.stores.conversations,
            backend.stores.inboxes,
            backend.stores.groups,
            clock_ms=self._timing.clock.wall_ms,
            trusted=self._clock_agrees,
        )
        self._report(self._measures().numbers)

    @staticmethod
    def certificate_of(settings: Settings, now: datetime) -> Certificate | None:
        """What the WSS listener shows."""
        return Certificate.of(settings, now)

    def _measures(self) -> Measures:
        backend, clock = self._backend, self._timing.clock
        return Measures(
            counts=self._door.counts,
            conversations=backend.stores.conversations,
            inboxes=backend.stores.inboxes,
            link=backend.link,
            sweeper=self._sweeper,
            send_to_push=backend.framing.send_to_push,
            listener=self._door.listener,
            recovery=self._recovery,
            keyring=self._live,
            reloading=self.reloading,
            certificate=self._certificate,
            wall=clock.wall,
            clock=self._region_clock,
            promises=backend.core.promises,
            failing=self._failing,
        )

    async def serve(self) -> Listening:
        """Have everything that sessions need, and let clients in."""
        presence, rooms = self._backend.hubs.presence, self._backend.hubs.rooms
        tracer = self._door.tracer
        await self._backend.subscriber.subscribe(tracer.channel, tracer)
        await presence.lease.renew()  # before anybody is here
        self._keep("sweeper", self._sweeper.run())
        self._keep("rooms", rooms.run())
        self._keep("lease", presence.lease.run())
        if self._hooks is not None:
            self._keep("webhooks", self._hooks.run())
        return self._door.listen()

    def _webhooks(self) -> Dispatcher:
        # Here, because a worker beside others needs nothing of it; and before the link connects,
        # which brings Redis the scripts that it knows by then.
        from gateway.runtime.hooks import dispatcher_of

        backend = self._backend
        return dispatcher_of(
            self._settings,
            backend.core,
            backend.link,
            backend.directory,
            self._timing.clock,
            self._tasks,
        )

    def hurry(self) -> None:
        """Close all sessions at once."""
        self._drain.hurry()

    async def drain(self) -> None:
        """Have all sessions go elsewhere."""
        await self._drain.run()

    async def settle(self) -> None:
        """Give back what sessions held."""
        self._backend.hubs.rooms.close()
        await self._backend.hubs.presence.aclose()
        if self._hooks is not None:
            await self._hooks.aclose()
