"""The process that sends webhooks: one per gateway, and those of a region share the work."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
from typing import Final

from gateway.clock import Clock
from gateway.config import Settings, Source
from gateway.hooks.dispatcher import Dispatcher
from gateway.hooks.endpoint import HookCounts, Means
from gateway.hooks.guard import Guard
from gateway.hooks.sender import Sender
from gateway.redis.errors import NotDurable, OperationFailed
from gateway.redis.link import Link
from gateway.redis.subscriber import Subscriber
from gateway.runtime.core import Core
from gateway.runtime.reload import Reloading
from gateway.runtime.rotation import LiveKeyring
from gateway.runtime.starting import StartError
from gateway.runtime.timekeeping import Timekeeping
from gateway.security.keyring import KeyringError
from gateway.store.directory import AppDirectory
from gateway.store.errors import StampError
from gateway.store.hook_events import HookEvents
from gateway.store.hook_log import HookLogs
from gateway.store.region_clock import RegionClock
from gateway.tasks import Tasks

_NOTHING: Final = dict.fromkeys(("origins", "directory", "protection"), lambda _: None)
"""What a reload has to say to a process without clients."""


def dispatcher_of(
    settings: Settings, core: Core, link: Link, directory: AppDirectory, clock: Clock, tasks: Tasks
) -> tuple[Dispatcher, Sender]:
    """A dispatcher, and what it sends with, which the caller closes."""
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
    return Dispatcher(link, core.keys, means, tasks), sender


async def run(settings: Settings, source: Source | None, tasks: Tasks) -> None:
    """Send what the region's webhooks are to be told, until SIGTERM. SIGHUP reads the files again.

    Raises:
        StartError: the key file or the Redis is not right.
        TaskEnded: what it needs has ended.
    """
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    region_clock = RegionClock()
    clock = Clock(wall=region_clock.now)
    try:
        core = Core.of(settings)
    except (KeyringError, OSError) as error:
        raise StartError(str(error)) from error
    link, subscriber = core.open_redis(tasks)
    directory = AppDirectory(link, core.keys, core.sealer, tasks, on_gone=lambda _: None)
    live = LiveKeyring(core, settings.key_file, link, clock)
    timekeeping = Timekeeping(region_clock, link, core.keys, live.begin)
    reloading = Reloading(settings, source, None, live, _NOTHING, clock)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloading.ask)
    dispatcher, sender = dispatcher_of(settings, core, link, directory, clock, tasks)
    stopped = asyncio.create_task(leaving.wait())
    failed = asyncio.create_task(tasks.failed())
    chores: list[asyncio.Task[None]] = []
    begun = asyncio.create_task(_begin(core, link, subscriber, directory))
    try:
        await asyncio.wait({begun, stopped, failed}, return_when=asyncio.FIRST_COMPLETED)
        if begun.done():
            begun.result()
            chores = [
                tasks.keep(work, name)
                for name, work in (
                    ("clock", timekeeping.run()),
                    ("apps", directory.run()),
                    ("reload", reloading.run()),
                    ("webhooks", dispatcher.run()),
                )
            ]
            await asyncio.wait({stopped, failed}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
    finally:
        for chore in chores:
            tasks.dismiss(chore)
        for task in (begun, stopped, failed):
            task.cancel()
        await asyncio.gather(begun, stopped, failed, *chores, return_exceptions=True)
        await tasks.end_spawned()
        with contextlib.suppress(OperationFailed, TimeoutError):
            async with asyncio.timeout(1):
                await dispatcher.aclose()
        await sender.aclose()
        await subscriber.aclose()
        await link.aclose()


async def _begin(core: Core, link: Link, subscriber: Subscriber, directory: AppDirectory) -> None:
    """Connect, as soon as Redis is there."""
    try:
        await link.start()
        await subscriber.start()
        await subscriber.subscribe(core.keys.apps_channel, directory)
    except (StampError, NotDurable) as error:
        raise StartError(str(error)) from error
