"""What lies in the store and can't be read, or means something else by now. Over real sockets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from homeport import codes, frames
from homeport.frames import Cursor
from structlog.testing import capture_logs

from gateway.config import Settings
from gateway.security.keyring import Keyring
from gateway.security.pseudonyms import Pseudonyms
from gateway.store.keys import Keys
from tests.gateway.session.spoiling import chunk, published, record_of, spoil
from tests.gateway.session.talking import note, pushes, quiet, send_many
from tests.harness import FakeClock, RunningWorker, running_worker


@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff" * 16 + b"\x05d:a:b", b"g" * 200])
async def test_a_record_that_was_tampered_with_holds_up_nobody(
    running: RunningWorker, store: Any, garbage: bytes
) -> None:
    """G5 and G7: its number is said to be lost, and the next one is delivered; the log has the
    app's hashed name."""
    async with running.client("alice") as alice:
        await send_many(alice, "bob", 3)
    spoil(store, chunk(running, "alice", "bob"), 2, garbage)
    with capture_logs() as said:
        async with running.client("bob") as bob:
            assert (await bob.expect(frames.Push)).number == 1
            assert await bob.expect(frames.Lost) == frames.Lost(2, 2)
            push = await bob.expect(frames.Push)
            assert (push.number, push.message.body) == (3, b"m3")
            await bob.send(frames.Ack(3))
            await quiet(bob)
    [line] = [line for line in said if line["event"] == "record_tampered"]
    assert line["app"] == Pseudonyms(running.keyring).app(running.app.id)


async def test_a_record_that_was_moved_from_another_conversation_is_not_shown(
    running: RunningWorker, store: Any
) -> None:
    """G7: who can write to Redis can't hand alice's and carol's words to bob."""
    async with running.client("alice") as alice:
        await send_many(alice, "carol", 1)
        await send_many(alice, "bob", 1, first=2)
    carols = record_of(store, chunk(running, "alice", "carol"), 1)
    spoil(store, chunk(running, "alice", "bob"), 1, carols)
    async with running.client("bob") as bob:
        assert await bob.expect(frames.Lost) == frames.Lost(1, 1)


async def test_a_live_record_that_was_tampered_with_is_said_to_be_lost(
    running: RunningWorker, store: Any
) -> None:
    """G5: also where it comes through pub/sub."""
    assert running.clock is not None
    async with running.client("bob") as bob:
        channel = Keys("sg").user(running.app.id, "bob").channel
        payload = published(1, 1, "alice", running.clock.ms, b"garbage" * 9)
        store.execute_command("SPUBLISH", channel, payload)
        assert await bob.expect(frames.Lost) == frames.Lost(1, 1)


@pytest.mark.parametrize("online", [True, False])
async def test_a_message_under_a_key_we_lack_is_kept_for_who_has_it(
    settings: Settings, clock: FakeClock, tmp_path: Path, online: bool
) -> None:
    """G1: 4001, nothing said to be lost, and still there with the right key file."""
    copy = Path(shutil.copy(settings.key_file, tmp_path / "copy.json"))
    async with running_worker(settings.model_copy(update={"key_file": copy}), clock=clock) as old:
        app = old.app  # knows version 1 of the keys only
        Keyring.rotate(settings.key_file, now_ms=clock.ms)
        async with running_worker(settings, clock=clock, app=app) as new:
            if online:
                async with old.client("bob") as bob, new.client("alice") as alice:
                    await send_many(alice, "bob", 1)
                    assert await bob.closed() == codes.STORE_UNAVAILABLE.number
            else:
                async with new.client("alice") as alice:
                    await send_many(alice, "bob", 1)
            async with old.client("bob") as bob:
                assert bob.connected.lost is None
                assert await bob.closed() == codes.STORE_UNAVAILABLE.number
            async with new.client("bob") as bob:
                assert (await bob.expect(frames.Push)).message.body == b"m1"


async def test_a_store_that_came_back_older_starts_a_new_epoch(
    running: RunningWorker, store: Any
) -> None:
    """HP-7.2-5 and G3: numbers that were given twice are not taken for the same messages."""
    names = Keys("sg").inbox(running.app.id, "bob")
    async with running.client("bob") as bob:
        await note(bob, "bob", 1)
        older = {key: store.dump(key) for key in (names.refs, names.rows)}
        await note(bob, "bob", 2, first=2)
    async with running.client("bob", "d2") as bob:
        last = (await pushes(bob, 3))[-1]
        epoch = bob.connected.cursor.epoch
        for key, value in older.items():
            store.restore(key, 0, value, replace=True)
        running.pass_time(31)
        assert await bob.closed() == codes.STORE_UNAVAILABLE.number
    async with running.client("bob", "d2", cursor=Cursor(epoch, last.ms, 3)) as bob:
        connected = bob.connected
        assert connected.cursor.epoch != epoch
        assert not connected.resumed


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01",
        b"\x01 short",
        published(1, 1, "alice", 5, b"")[:-9],
        published(1, 1, "a", 5, b"").replace(b"a", b"\xff"),
        b"\x02x",
        b"\x03\xff",
        b"\x04\xff",
    ],
)
async def test_garbage_on_a_channel_disturbs_nobody(
    running: RunningWorker, store: Any, payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """G9: the connection to Redis is kept, and all its channels with it."""
    async with running.client("bob") as bob:
        channel = Keys("sg").user(running.app.id, "bob").channel
        store.execute_command("SPUBLISH", channel, payload)
        await note(bob, "bob", 1)
    assert caplog.records == []
