"""A key comes into use while sessions are open, and gateways see it at different moments."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis
from homeport import codes, frames
from structlog.testing import capture_logs
from structlog.typing import EventDict

from gateway.config import Settings
from gateway.dev.embedded import EmbeddedValkey
from gateway.redis.node_link import NodeLink
from gateway.runtime import reload
from gateway.security.keyring import Keyring
from gateway.store.keys import STAMP, Keys
from gateway.store.rows import conversation_of
from gateway.store.stored import parse_message, parse_references
from tests.chunks import chunk_of
from tests.gateway.replicas import two_workers
from tests.harness import (
    FakeClock,
    RawClient,
    RunningWorker,
    make_settings,
    running_worker,
    until,
)


@pytest.fixture(autouse=True)
def _looks_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the test says when a worker looks at its files."""
    monkeypatch.setattr(reload, "LOOK_S", 3600)


async def look(running: RunningWorker) -> list[EventDict]:
    """Have the worker take up what changed, as at SIGHUP; returns what the log says."""
    running.worker.reloading.ask()
    with capture_logs() as said:
        await running.worker.reloading.look()
    return said


def versions(store: Any, running: RunningWorker, user: str) -> list[int]:
    """Under which key versions the messages in a user's inbox are sealed, in their order."""
    found, app_id, keys = [], running.app.id, Keys("sg")
    for ref in parse_references(1, store.lrange(keys.inbox(app_id, user).refs, 0, -1)):
        head = keys.conversation(app_id, conversation_of(user, ref.peer)).head
        record = parse_message(ref.seq, store.hget(chunk_of(store, head), str(ref.seq))).record
        assert record is not None
        found.append(int.from_bytes(record[17:19], "big"))  # behind the id and the seal's form
    return found


async def says(client: RawClient, to: str, text: str) -> None:
    """Send, and expect ok."""
    assert isinstance(await client.say(to, text), frames.Ok)


async def hears(client: RawClient, text: str) -> None:
    """The next push is this one; others' answers before it are passed over."""
    assert (await client.until(frames.Push)).message.body == text.encode()


async def test_a_new_key_takes_over_under_open_sessions(
    settings: Settings, clock: FakeClock, store: Any
) -> None:
    """G4 and G7: nobody is disconnected, everything from before is read after, nothing is sealed
    under the old key any more; and the new one waits for its moment."""
    async with running_worker(settings, clock=clock) as running:
        async with running.client("alice") as alice, running.client("bob") as bob:
            await says(alice, "bob", "one")
            Keyring.rotate(settings.key_file, 60, clock.ms)
            said = await look(running)
            assert said[0]["event"] == "keyring_read"
            assert (said[0]["versions"], said[0]["added"]) == ([1, 2], [2])
            assert said[1:] == [{"event": "reloaded", "changed": ["keyring"], "log_level": "info"}]
            clock.advance(59.999)
            await running.worker.reloading.look()
            await says(alice, "bob", "two")
            clock.advance(0.001)
            with capture_logs() as said:
                await running.worker.reloading.look()
            assert said == [{"event": "key_activated", "version": 2, "log_level": "info"}]
            await says(alice, "bob", "three")
            assert versions(store, running, "bob") == [1, 1, 2]
            for text in ("one", "two", "three"):
                await hears(bob, text)
        async with running.client("bob", "d2") as bob:
            for text in ("one", "two", "three"):
                await hears(bob, text)
    async with running_worker(settings, clock=clock, app=running.app) as after:
        async with after.client("alice") as alice:
            await says(alice, "bob", "four")
        assert versions(store, after, "bob")[-1] == 2
        async with after.client("bob", "d3") as bob:
            for text in ("one", "two", "three", "four"):
                await hears(bob, text)


async def test_a_clock_that_goes_back_brings_no_old_key_back(
    settings: Settings, clock: FakeClock, store: Any
) -> None:
    """G7: an old key that may have leaked is there to read with only."""
    async with running_worker(settings, clock=clock) as running, running.client("bob") as bob:
        clock.advance(5)  # the first key is some seconds old
        Keyring.rotate(settings.key_file, 0, clock.ms)
        await look(running)
        clock.now -= 3600
        await look(running)
        await says(bob, "bob", "x")
        assert versions(store, running, "bob") == [2]


@pytest.mark.parametrize("online", [True, False])
async def test_a_gateway_that_has_not_looked_yet_reads_its_file_at_once(
    settings: Settings, clock: FakeClock, store: Any, online: bool
) -> None:
    """G1: the file is there, another gateway seals by it already: no 4001, no message late."""
    async with (
        two_workers(settings, clock) as (early, late),
        early.client("alice") as alice,
        contextlib.AsyncExitStack() as stack,
    ):
        if online:
            bob = await stack.enter_async_context(late.client("bob"))
        Keyring.rotate(settings.key_file, 0, clock.ms)
        await look(early)
        await says(alice, "bob", "hello")
        if not online:
            bob = await stack.enter_async_context(late.client("bob"))
        await hears(bob, "hello")
        assert versions(store, early, "bob") == [2]
        await says(bob, "alice", "read, but not sealed with before the stamp was looked at")
        assert versions(store, early, "alice")[-1] == 1
        await late.worker.reloading.look()
        await says(bob, "alice", "now")
        assert versions(store, early, "alice")[-1] == 2


async def test_a_file_is_not_read_for_each_message_that_names_a_version(
    settings: Settings, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: once a second, whatever is written into Redis."""
    copy = Path(shutil.copy(settings.key_file, tmp_path / "copy.json"))
    behind = settings.model_copy(update={"key_file": copy})
    reads: list[Path] = []
    load = Keyring.load

    def counted(path: Path, region: str) -> Keyring:
        reads.append(path)
        return load(path, region)

    async with (
        running_worker(settings, clock=clock) as early,
        running_worker(behind, clock=clock, app=early.app) as late,
        early.client("alice") as alice,
    ):
        Keyring.rotate(settings.key_file, 0, clock.ms)
        await look(early)
        monkeypatch.setattr(Keyring, "load", counted)
        for number in range(3):
            await says(alice, "bob", f"m{number}")
            async with late.client("bob") as bob:
                assert await bob.closed() == codes.STORE_UNAVAILABLE.number
        assert reads == [copy]
        clock.advance(1)
        shutil.copy(settings.key_file, copy)
        async with late.client("bob") as bob:
            for number in range(3):
                await hears(bob, f"m{number}")
        assert reads == [copy, copy]


async def test_redis_away_at_the_moment_of_change(tmp_path: Path, clock: FakeClock) -> None:
    """G1: the old key goes on until the stamp says the new one; then it takes over by itself."""
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        settings = make_settings(valkey.url, tmp_path)
        async with running_worker(settings, clock=clock) as running:
            sealer = running.inside.sealer
            Keyring.rotate(settings.key_file, 0, clock.ms)
            valkey.stop()
            await until(lambda: not running.inside.link.up)
            await look(running)
            assert sealer.active == 1
            valkey.start()
            await until(lambda: running.inside.link.up)
            await running.worker.reloading.look()
            assert sealer.active == 2
            with redis.Redis.from_url(valkey.url) as store:
                assert store.hexists(STAMP, "key:2")


async def test_a_file_that_lost_a_key_is_refused(settings: Settings, clock: FakeClock) -> None:
    """G4: with a backup in its place, or a file made anew, what waits could not be read."""
    old = settings.key_file.read_bytes()
    other = make_settings("redis://x", settings.key_file.parent / "other").key_file.read_bytes()
    async with running_worker(settings, clock=clock) as running, running.client("alice") as alice:
        Keyring.rotate(settings.key_file, 0, clock.ms)
        await look(running)
        await says(alice, "bob", "one")
        for content in (old, other):
            settings.key_file.write_bytes(content)
            (line,) = await look(running)
            assert line["event"] == "reload_refused"
            assert "has lost the key of version" in line["problem"]
        await says(alice, "bob", "two")
        async with running.client("bob") as bob:
            for text in ("one", "two"):
                await hears(bob, text)


@contextlib.asynccontextmanager
async def rotated_apart(
    settings: Settings, clock: FakeClock, tmp_path: Path
) -> AsyncIterator[tuple[RunningWorker, RunningWorker, Path]]:
    """Two gateways whose operators rotated a copy of the file each; the second's is returned."""
    copy = Path(shutil.copy(settings.key_file, tmp_path / "copy.json"))
    async with (
        running_worker(settings, clock=clock) as one,
        running_worker(
            settings.model_copy(update={"key_file": copy}), clock=clock, app=one.app
        ) as two,
    ):
        for running, path in ((one, settings.key_file), (two, copy)):
            Keyring.rotate(path, 60, clock.ms)
            said = await look(running)
            apart = [event["version"] for event in said if event["event"] == "key_differs"]
            assert apart == ([] if running is one else [2])
        yield one, two, copy


async def test_files_that_were_rotated_apart_lose_nothing(
    settings: Settings, clock: FakeClock, store: Any, tmp_path: Path
) -> None:
    """G1 and G5: the second gateway never seals under its key, and calls no message that it can't
    open lost; with the right file, which may take the wrong key's place, it is delivered."""
    async with rotated_apart(settings, clock, tmp_path) as (one, two, copy):
        clock.advance(60)
        await one.worker.reloading.look()
        with capture_logs() as said:
            await two.worker.reloading.look()
        assert said == []  # it has been said
        async with one.client("alice") as alice, two.client("carol") as carol:
            await says(alice, "bob", "under the right key")
            await says(carol, "bob", "under the old one")
            assert versions(store, one, "bob") == [2, 1]
            async with two.client("bob") as bob:
                assert bob.connected.lost is None
                assert await bob.closed() == codes.STORE_UNAVAILABLE.number
            shutil.copy(settings.key_file, copy)
            await look(two)
            async with two.client("bob") as bob:
                await hears(bob, "under the right key")
                await hears(bob, "under the old one")
            await says(carol, "bob", "under the right one")
            assert versions(store, one, "bob") == [2, 1, 2]


async def loses_redis(running: RunningWorker) -> None:
    """Its connection for commands ends; it comes back by itself, where it may."""
    link = running.inside.link
    assert isinstance(link, NodeLink)
    link.abort()
    assert not link.up


async def test_a_coming_key_keeps_no_gateway_from_coming_back(
    settings: Settings, clock: FakeClock, tmp_path: Path
) -> None:
    """G10: Redis drops the connections while the new file is on its way: also the gateway that has
    another key comes back. Once something is sealed under the key, it does not (G6)."""
    async with rotated_apart(settings, clock, tmp_path) as (one, two, _):
        for running in (one, two):
            await loses_redis(running)
            await until(lambda: one.inside.link.up and two.inside.link.up)
        with redis.Redis.from_url(settings.redis_url) as store:
            assert not store.hexists(STAMP, "key:2")
            clock.advance(60)
            await one.worker.reloading.look()
            assert store.hexists(STAMP, "key:2")
        with capture_logs() as said:
            await loses_redis(two)
            await until(lambda: any(e["event"] == "redis_refused" for e in said))
        assert not two.inside.link.up
        problem = next(e["problem"] for e in said if e["event"] == "redis_refused")
        assert "the key file has another key as version 2" in problem
