"""The process that sends webhooks: one per gateway, and those of a region share the work."""

from __future__ import annotations

import ipaddress
from datetime import datetime

from gateway.clock import Clock
from gateway.config import Settings
from gateway.hooks.dispatcher import Dispatcher
from gateway.hooks.endpoint import HookCounts, Means
from gateway.hooks.guard import Guard
from gateway.hooks.sender import Sender
from gateway.net.tls import Certificate
from gateway.redis.link import Link
from gateway.runtime.core import Core
from gateway.runtime.process import Process
from gateway.runtime.starting import Listening
from gateway.store.directory import AppDirectory
from gateway.store.hook_events import HookEvents
from gateway.store.hook_log import HookLogs
from gateway.tasks import Tasks


def dispatcher_of(
    settings: Settings, core: Core, link: Link, directory: AppDirectory, clock: Clock, tasks: Tasks
) -> Dispatcher:
    """A dispatcher, which the caller closes."""
    sender = Sender(Guard([ipaddress.ip_network(each) for each in settings.webhook_networks]))
    means = Means(
        HookLogs(link, core.keys),
        HookEvents(core.sealer),
        directory,
        sender,
        clock,
        HookCounts(),
        core.sealer.names,
    )
    return Dispatcher(link, core.keys, means, tasks)


class HooksProcess(Process):
    """Sends what the region's webhooks are to be told."""

    def _build(self) -> None:
        backend = self._backend
        self._dispatcher = dispatcher_of(
            self._settings,
            backend.core,
            backend.link,
            backend.directory,
            self._timing.clock,
            self._tasks,
        )
        # What a reload has to say to a process without clients.
        self._reload(dict.fromkeys(("origins", "directory", "protection"), lambda _: None))

    @staticmethod
    def certificate_of(settings: Settings, now: datetime) -> Certificate | None:
        """None: nobody connects."""
        return None

    async def serve(self) -> Listening:
        """Send."""
        self._keep("webhooks", self._dispatcher.run())
        return Listening()

    def hurry(self) -> None:
        """Nothing waits for anybody."""

    async def drain(self) -> None:
        """Nothing is under way that another process would not do again."""

    async def settle(self) -> None:
        """Leave what there is to do to others."""
        await self._dispatcher.aclose()
