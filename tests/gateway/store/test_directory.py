"""The directory: an app is read once, kept, and never kept as it was before a change was told."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from gateway.apps.app import App, change, create_app
from gateway.redis.errors import Unavailable
from gateway.redis.link import Link
from gateway.security.sealing import Sealer, SealError
from gateway.store.directory import AppDirectory, open_app, seal_app
from gateway.store.errors import AppNotFound
from gateway.store.keys import STAMP, Keys
from gateway.tasks import Tasks
from tests.gateway.store.conftest import APP_ID, Store


class Reads:
    """Stands in for the link: a test answers each read when it wants to."""

    def __init__(self) -> None:
        self.open: list[asyncio.Future[Any]] = []

    def call(self, *command: str) -> asyncio.Future[Any]:
        """One GET of an app's record; of one that is not there is noted that it was deleted."""
        if command[0] != "GET":
            told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            told.set_result(int(command[0] == "HEXISTS"))
            return told
        assert command == ("GET", Keys("sg").app(APP_ID))
        self.open.append(asyncio.get_running_loop().create_future())
        return self.open[-1]


class Directory:
    """A directory over `Reads`, and the apps it said were gone."""

    def __init__(self, store: Store) -> None:
        self.reads = Reads()
        self.gone: list[str] = []
        self.sealer = Sealer(store.keyring)
        self.apps = AppDirectory(
            cast("Link", self.reads), store.keys, self.sealer, Tasks(), self.gone.append
        )

    async def asked(self, *what: Any) -> list[asyncio.Task[Any]]:
        """Start coroutines, and let them get as far as they can."""
        tasks = [asyncio.create_task(each) for each in what]
        for _ in range(5):
            await asyncio.sleep(0)
        return tasks

    def answer(self, index: int, app: App | None) -> None:
        """Redis answers a read."""
        record = None if app is None else seal_app(self.sealer, app, 0)
        self.reads.open[index].set_result(record)


def real(store: Store, gone: list[str] | None = None) -> AppDirectory:
    """A directory over the real link."""
    said = [] if gone is None else gone
    return AppDirectory(store.link, store.keys, Sealer(store.keyring), Tasks(), said.append)


async def test_an_app_is_read_once(store: Store) -> None:
    """A storm of connects to one app is one read, and no connect after it reads again."""
    directory = Directory(store)
    tasks = await directory.asked(*(directory.apps.get(APP_ID) for _ in range(100)))
    assert len(directory.reads.open) == 1
    directory.answer(0, store.app)
    assert set(await asyncio.gather(*tasks)) == {store.app}
    assert await directory.apps.get(APP_ID) == directory.apps.known(APP_ID) == store.app
    assert len(directory.reads.open) == 1


async def test_an_impatient_caller_takes_nobodys_read_away(store: Store) -> None:
    """A client that leaves while its app is read does not fail the others'."""
    directory = Directory(store)
    first, second = await directory.asked(*(directory.apps.get(APP_ID) for _ in range(2)))
    first.cancel()
    await directory.asked()
    directory.answer(0, store.app)
    assert await second == store.app


async def test_a_change_is_seen_when_it_is_told(store: Store) -> None:
    """G4, G8: a new tier or certificate counts from the message of the change on."""
    directory = real(store)
    await directory.get(APP_ID)
    async with store.admin() as admin:
        changed = await admin.apps.change(APP_ID, "tier", "pro", store.clock.ms)
        assert directory.known(APP_ID) == store.app
        await directory.reload(APP_ID)
        assert directory.known(APP_ID) == changed
        rotated = await admin.apps.rotate_certificate(APP_ID, store.clock.ms)
        await directory.reload_all()
    assert directory.known(APP_ID) == rotated


async def test_a_change_told_during_a_read_is_not_missed(store: Store) -> None:
    """G4, G8: the read under way may be from before the change; the one after it is kept."""
    directory = Directory(store)
    changed = change(store.app, "tier", "pro")
    tasks = await directory.asked(directory.apps.get(APP_ID))
    tasks += await directory.asked(directory.apps.reload(APP_ID))
    assert len(directory.reads.open) == 2
    directory.answer(0, store.app)
    directory.answer(1, changed)
    await asyncio.gather(*tasks)
    assert directory.apps.known(APP_ID) == changed


async def test_a_deletion_told_during_a_read_is_not_missed(store: Store) -> None:
    """SPEC 5.5: the sessions of a deleted app are ended, also those that were just connecting."""
    directory = Directory(store)
    tasks = await directory.asked(directory.apps.get(APP_ID))
    tasks += await directory.asked(directory.apps.reload(APP_ID))
    directory.answer(0, store.app)
    directory.answer(1, None)
    await asyncio.gather(*tasks)
    assert directory.gone == [APP_ID]
    with pytest.raises(AppNotFound):
        directory.apps.known(APP_ID)


async def test_apps_that_nobody_uses_here_are_not_read(store: Store) -> None:
    """A change of an app without sessions here is no work here."""
    directory = Directory(store)
    await directory.apps.reload(APP_ID)
    await directory.apps.reload_all()
    assert directory.reads.open == []


async def test_a_deleted_app_is_gone_once(store: Store) -> None:
    """Its sessions are told once, and it is not known any more."""
    gone: list[str] = []
    directory = real(store, gone)
    await directory.get(APP_ID)
    async with store.admin() as admin:
        await admin.apps.delete(APP_ID)
    await directory.reload(APP_ID)
    await directory.reload(APP_ID)
    assert gone == [APP_ID]
    with pytest.raises(AppNotFound, match="homeport app list"):
        directory.known(APP_ID)
    with pytest.raises(AppNotFound):
        await directory.get(APP_ID)


async def test_while_redis_is_away_the_known_app_stays(store: Store) -> None:
    """G10: sessions go on with what is known; who is not known must wait."""
    directory = real(store)
    await directory.get(APP_ID)
    await store.link.aclose()
    with capture_logs() as logs:
        await directory.reload(APP_ID)
    assert directory.known(APP_ID) == store.app
    assert [(log["event"], log["reason"]) for log in logs] == [("app_reload_failed", "Unavailable")]
    with pytest.raises(Unavailable):
        await directory.get("02" + "a" * 30)


@pytest.mark.parametrize("damage", ["cut", "another app's", "plain"])
async def test_a_damaged_record_does_not_replace_a_good_one(store: Store, damage: str) -> None:
    """G6, G7: what this region's keys did not seal for this app is never taken for it."""
    directory = real(store)
    await directory.get(APP_ID)
    sealer = Sealer(store.keyring)
    other = replace(store.app, id="02" + "a" * 30)
    records = {
        "cut": seal_app(sealer, store.app, 0)[:-1],
        "another app's": seal_app(sealer, other, 0),
        "plain": b"{}",
    }
    store.raw.set(store.keys.app(APP_ID), records[damage])
    await directory.reload(APP_ID)
    assert directory.known(APP_ID) == store.app
    with pytest.raises(SealError):
        await directory.read(APP_ID)
    with pytest.raises(SealError):
        open_app(sealer, APP_ID, records[damage])


async def test_a_failed_read_is_not_kept(store: Store) -> None:
    """An app that is created after somebody asked for it is found."""
    directory = real(store)
    app = replace(store.app, id="02" + "a" * 30)
    with pytest.raises(AppNotFound):
        await directory.get(app.id)
    async with store.admin() as admin:
        await admin.apps.create(app, store.clock.ms)
    assert await directory.get(app.id) == app


@pytest.mark.parametrize("lost", ["its record", "all apps", "all"])
@pytest.mark.parametrize("known", [True, False])
async def test_an_app_that_redis_has_lost_is_not_called_deleted(
    store: Store, lost: str, known: bool
) -> None:
    """HP-5.1-11: an evicted record, or a region that was emptied, had every client told for good
    that there is no such app, and live sessions that it was deleted. It heals when it is back."""
    gone: list[str] = []
    directory = real(store, gone)
    if known:
        await directory.get(APP_ID)
    record = store.raw.get(store.keys.app(APP_ID))
    assert isinstance(record, bytes)
    if lost == "all":
        store.raw.delete(STAMP)
    if lost != "its record":
        store.raw.delete(store.keys.apps)
    store.raw.delete(store.keys.app(APP_ID))
    with pytest.raises(Unavailable):
        await directory.read(APP_ID)
    await directory.reload(APP_ID)
    assert gone == []
    store.raw.set(store.keys.app(APP_ID), record)
    assert await directory.read(APP_ID) == store.app


async def test_an_app_that_vanishes_while_it_is_known_was_lost(store: Store) -> None:
    """HP-5.1-11: Redis came back as it was before the app was made. Only who never knew the app
    believes that it never was."""
    directory = real(store)
    await directory.get(APP_ID)
    async with store.admin() as admin:
        await admin.apps.create(create_app("b", "sg", "free", "global", 0), store.clock.ms)
    store.raw.srem(store.keys.apps, APP_ID)
    store.raw.delete(store.keys.app(APP_ID))
    with pytest.raises(Unavailable):
        await directory.read(APP_ID)
    with pytest.raises(AppNotFound):
        await real(store).read(APP_ID)


async def test_the_last_app_that_is_deleted_is_unknown(store: Store) -> None:
    """HP-5.1-6: a list without an app is no sign of a loss where the deletion is noted."""
    async with store.admin() as admin:
        await admin.apps.delete(APP_ID)
    with pytest.raises(AppNotFound):
        await real(store).read(APP_ID)


async def test_who_uses_an_app_hears_of_each_change_once(store: Store) -> None:
    """HP-6.4-3, HP-6.4-4: sessions are compared with what the app is now."""
    told: list[App] = []
    sealer = Sealer(store.keyring)
    apps = AppDirectory(store.link, store.keys, sealer, Tasks(), lambda _: None, told.append)
    await apps.get(APP_ID)
    await apps.reload(APP_ID)
    assert told == []
    async with store.admin() as admin:
        changed = await admin.apps.rotate_certificate(APP_ID, store.clock.ms)
    await apps.reload(APP_ID)
    await apps.reload(APP_ID)
    assert told == [changed]
