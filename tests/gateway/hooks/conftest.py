"""A dispatcher over a store, and a receiver."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.apps.webhooks import Webhook
from gateway.dev.certificates import DevCerts, ensure
from gateway.hooks.dispatcher import Dispatcher
from gateway.hooks.endpoint import HookCounts, Means
from gateway.hooks.guard import Guard
from gateway.hooks.sender import Sender
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store.directory import AppDirectory
from gateway.store.hook_events import HookEvents
from gateway.store.hook_log import HookLogs
from gateway.tasks import Tasks
from tests.gateway.hooks.receiving import Receiver, receiving, trust
from tests.gateway.store.conftest import Store, open_store

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

Dispatching = Callable[..., AbstractAsyncContextManager[Dispatcher]]


@pytest.fixture
def certs(tmp_path: Path) -> DevCerts:
    """A CA and a certificate for localhost."""
    return ensure(tmp_path, datetime.now(UTC))


@pytest.fixture
async def store(redis_url: str, keyring: Keyring) -> AsyncIterator[Store]:
    """A store with an app."""
    async with open_store(redis_url, keyring) as opened:
        yield opened


@pytest.fixture
async def receiver(certs: DevCerts) -> AsyncIterator[Receiver]:
    """A receiver whose certificate the dispatcher trusts."""
    async with receiving(certs) as found:
        yield found


@pytest.fixture
def dispatching(store: Store, certs: DevCerts) -> Dispatching:
    """Runs a dispatcher of the store, on the store's clock: ``async with dispatching():``."""

    @contextlib.asynccontextmanager
    async def run(allowed: bool = True) -> AsyncIterator[Dispatcher]:
        tasks, sealer = Tasks(), Sealer(store.keyring)
        sender = Sender(Guard(LOOPBACK if allowed else ()), trust(certs))
        directory = AppDirectory(store.link, store.keys, sealer, tasks, lambda _: None)
        means = Means(
            HookLogs(store.link, store.keys),
            HookEvents(sealer),
            directory,
            sender,
            store.clock.clock(),
            HookCounts(),
            sealer.names,
        )
        dispatcher = Dispatcher(store.link, store.keys, means, tasks)
        running = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await tasks.end_spawned()
            await dispatcher.aclose()

    return run


async def give(store: Store, url: str, *events: str) -> Webhook:
    """Give the store's app an endpoint at `url`."""
    async with store.admin() as admin:
        made = await admin.webhooks.add(store.app.id, url, events or ("*",), store.clock.ms)
        store.app = await admin.apps.existing(store.app.id)
    return made
