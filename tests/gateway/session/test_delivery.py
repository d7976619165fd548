"""The way out of an inbox: window, catch-up, gaps, cursors and loss. Over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.config import Settings
from gateway.security.keyring import Keyring
from gateway.store.keys import Keys
from protocol import codes, frames
from protocol.frames import Cursor
from protocol.limits import WINDOW
from tests.harness import FakeClock, RawClient, RunningWorker, running_worker


async def send_many(client: RawClient, to: str, count: int, first: int = 1) -> None:
    """Send `count` messages with the bodies m<first>, m<first + 1> …, and wait for each ok."""
    for number in range(first, first + count):
        await client.send(frames.Send(number, f"m{number}", to, "text", f"m{number}".encode()))
    for _ in range(count):
        await client.until(frames.Ok)


async def note(client: RawClient, user: str, count: int) -> None:
    """As `send_many` to oneself, and take the pushes too: they and the oks come in any order."""
    for number in range(1, count + 1):
        await client.send(frames.Send(number, f"m{number}", user, "text", f"m{number}".encode()))
    left = {frames.Ok: count, frames.Push: count}
    while any(left.values()):
        left[type(await client.receive())] -= 1


async def pushes(client: RawClient, count: int) -> list[frames.Push]:
    """The next `count` frames, which must be pushes."""
    return [await client.expect(frames.Push) for _ in range(count)]


async def quiet(client: RawClient) -> None:
    """Fail if the server has anything to say but the answer to this ping."""
    await client.send(frames.Ping())
    await client.expect(frames.Pong)


class Dropped:
    """Swallows the next `count` stored messages that pub/sub brings to a gateway."""

    def __init__(self, running: RunningWorker, patch: pytest.MonkeyPatch, count: int) -> None:
        hub = running.worker._hub
        hear = hub.heard
        self._left = count
        self._done = asyncio.Event()

        def heard(channel: bytes, payload: bytes) -> None:
            if payload[0] == 1 and self._left:
                self._left -= 1
                if not self._left:
                    self._done.set()
            else:
                hear(channel, payload)

        patch.setattr(hub, "heard", heard)

    async def all(self) -> None:
        """Wait until they are."""
        async with asyncio.timeout(10):
            await self._done.wait()


# -- order -------------------------------------------------------------------------------------


async def test_numbers_begin_at_1_and_are_dense(running: RunningWorker) -> None:
    """HP-7.2-1, HP-7.2-2 and G3."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await send_many(alice, "bob", 20)
        got = await pushes(bob, 20)
        assert [push.seq for push in got] == list(range(1, 21))
        assert [push.message.body for push in got] == [f"m{n}".encode() for n in range(1, 21)]


async def test_every_device_sees_the_same_numbers_and_keeps_its_own_cursor(
    running: RunningWorker,
) -> None:
    """G3 and HP-7.3-1: an ack of one device is not another's."""
    async with running.client("bob", "d1") as one, running.client("bob", "d2") as two:
        await note(one, "bob", 4)
        assert await pushes(two, 4)
        await one.send(frames.Ack(4))
        await two.send(frames.Ack(2))
        await quiet(two)
    async with running.client("bob", "d1") as one, running.client("bob", "d2") as two:
        await quiet(one)
        assert [push.seq for push in await pushes(two, 2)] == [3, 4]


async def test_a_message_waits_for_who_is_away(running: RunningWorker) -> None:
    """G4 and HP-7.2-6: a new device begins at the oldest message kept."""
    async with running.client("alice") as alice:
        await send_many(alice, "bob", 3)
    async with running.client("bob", "new") as bob:
        assert [push.message.body for push in await pushes(bob, 3)] == [b"m1", b"m2", b"m3"]


# -- the window ----------------------------------------------------------------------------------


@pytest.mark.parametrize("online", [True, False])
async def test_no_more_than_the_window_is_in_flight(running: RunningWorker, online: bool) -> None:
    """HP-7.3-5 and G9: then nothing, until acks come; and then all the rest, in order."""
    total = WINDOW + 150
    async with running.client("alice") as alice:
        if online:
            async with running.client("bob") as bob:
                await send_many(alice, "bob", total)
                await _take_all(bob, total)
        else:
            await send_many(alice, "bob", total)
            async with running.client("bob") as bob:
                await _take_all(bob, total)


async def _take_all(bob: RawClient, total: int) -> None:
    got = await pushes(bob, WINDOW)
    await quiet(bob)
    await bob.send(frames.Ack(got[-1].seq))
    got += await pushes(bob, total - WINDOW)
    await quiet(bob)
    assert [push.seq for push in got] == list(range(1, total + 1))
    assert [push.message.body for push in got] == [f"m{n}".encode() for n in range(1, total + 1)]


async def test_pushes_go_on_live_after_the_window_was_full(running: RunningWorker) -> None:
    """HP-7.3-5: what is stored while catching up comes once, behind it."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await send_many(alice, "bob", WINDOW + 20)
        await pushes(bob, WINDOW)
        await bob.send(frames.Ack(WINDOW))
        await send_many(alice, "bob", 30, first=WINDOW + 21)
        got = await pushes(bob, 50)
        assert [push.seq for push in got] == list(range(WINDOW + 1, WINDOW + 51))


async def test_an_ack_is_never_answered_but_one_ahead_is_refused(running: RunningWorker) -> None:
    """HP-7.3-3 and HP-7.3-4: and an older one changes nothing (HP-7.3-1)."""
    async with running.client("bob") as bob:
        await note(bob, "bob", 2)
        for seq in (2, 1, 2, 0):
            await bob.send(frames.Ack(seq))
        await quiet(bob)
        await bob.send(frames.Ack(3))
        error = await bob.expect(frames.Error)
        assert (error.id, error.code) == (0, codes.ACK_AHEAD.number)
        await quiet(bob)
        assert isinstance(await bob.say("bob", "x"), frames.Ok)


# -- gaps ----------------------------------------------------------------------------------------


async def test_a_dropped_publish_is_healed_by_the_next_message(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3: pub/sub is a shortcut; a hole is read from the inbox, in order and once."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await send_many(alice, "bob", 1)
        await pushes(bob, 1)
        # alice's inbox hears of each message as well
        dropped = Dropped(running, monkeypatch, 6)
        await send_many(alice, "bob", 3, first=2)
        await dropped.all()
        await quiet(bob)
        await send_many(alice, "bob", 1, first=5)
        assert [push.message.body for push in await pushes(bob, 4)] == [
            b"m2",
            b"m3",
            b"m4",
            b"m5",
        ]
        await quiet(bob)


async def test_a_dropped_publish_is_healed_by_the_regular_check(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1: also when no message follows it."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        dropped = Dropped(running, monkeypatch, 2)
        await send_many(alice, "bob", 1)
        await dropped.all()
        await quiet(bob)
        running.pass_time(31)
        assert (await bob.until(frames.Push)).message.body == b"m1"


async def test_a_killed_pubsub_connection_is_healed(
    running: RunningWorker, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3 and G10: what was missed comes when the connection is back, by itself and once."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await send_many(alice, "bob", 1)
        await pushes(bob, 1)
        dropped = Dropped(running, monkeypatch, 2)  # as if the connection had gone already
        await send_many(alice, "bob", 1, first=2)
        await dropped.all()
        assert store.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        assert (await bob.expect(frames.Push)).message.body == b"m2"
        await send_many(alice, "bob", 1, first=3)
        assert (await bob.expect(frames.Push)).message.body == b"m3"
        await quiet(bob)


async def test_a_killed_link_is_healed(running: RunningWorker, store: Any) -> None:
    """G10: the connection for commands comes back too, and acks that were lost are said again."""
    async with running.client("bob") as bob:
        await note(bob, "bob", 3)
        await bob.send(frames.Ack(3))
        store.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        while isinstance(await bob.say("bob", "again"), frames.Error):
            pass
    async with running.client("bob") as bob:
        assert (await bob.expect(frames.Push)).seq == 4


# -- cursors -------------------------------------------------------------------------------------


async def test_a_clients_cursor_of_the_epoch_is_where_it_goes_on(running: RunningWorker) -> None:
    """HP-7.2-4 and HP-7.2-7: after it, and it counts as an ack."""
    async with running.client("bob") as bob:
        epoch = bob.connected.cursor.epoch
        await note(bob, "bob", 5)
    async with running.client("bob", "d2") as bob:
        third = (await pushes(bob, 5))[2]
        mine = Cursor(epoch, third.ms, third.seq)
    async with running.client("bob", "d2", cursor=mine) as bob:
        connected = bob.connected
        assert (connected.resumed, connected.cursor, connected.lost) == (True, mine, None)
        assert [push.seq for push in await pushes(bob, 2)] == [4, 5]
    async with running.client("bob", "d2") as bob:  # HP-7.2-6: it was acknowledged by that
        assert bob.connected.cursor.seq == 3
        assert not bob.connected.resumed


async def test_a_cursor_behind_the_servers_gets_the_messages_again(
    running: RunningWorker,
) -> None:
    """HP-7.2-4: the client's own cursor counts, where the messages are still there."""
    async with running.client("bob", "d1"), running.client("bob", "d2") as bob:
        epoch = bob.connected.cursor.epoch
        await note(bob, "bob", 3)
        await bob.send(frames.Ack(3))
        await quiet(bob)
    async with running.client("bob", "d2", cursor=Cursor(epoch, 0, 0)) as bob:
        assert bob.connected.resumed
        assert [push.seq for push in await pushes(bob, 3)] == [1, 2, 3]


async def test_a_cursor_of_another_epoch_is_ignored(running: RunningWorker) -> None:
    """HP-7.2-5: the server's own counts, and `resumed` is false."""
    async with running.client("bob") as bob:
        await note(bob, "bob", 3)
        await bob.send(frames.Ack(1))
        await quiet(bob)
    async with running.client("bob", cursor=Cursor("another", 5, 2)) as bob:
        connected = bob.connected
        assert (connected.resumed, connected.cursor.seq) == (False, 1)
        assert [push.seq for push in await pushes(bob, 2)] == [2, 3]


# -- loss ----------------------------------------------------------------------------------------


async def test_what_the_age_took_is_said_at_connect(running: RunningWorker) -> None:
    """HP-7.4-1, HP-7.4-2, HP-7.2-7, G4 and G5: gone are 1 and 2, both named, and 3 follows."""
    assert running.clock is not None
    async with running.client("bob") as bob:
        epoch = bob.connected.cursor.epoch
    async with running.client("alice") as alice:
        await send_many(alice, "bob", 2)
        running.clock.advance(running.app.tier.retention_ms / 1000 - 3600)
    async with running.client("alice") as alice:
        await send_many(alice, "bob", 1, first=3)
    running.clock.advance(3600)
    async with running.client("bob", cursor=Cursor(epoch, 0, 0)) as bob:
        connected = bob.connected
        assert (connected.lost, connected.cursor.seq) == ((1, 2), 2)
        assert not connected.resumed
        push = await bob.expect(frames.Push)
        assert (push.seq, push.message.body) == (3, b"m3")
        await quiet(bob)


async def test_what_is_gone_behind_a_full_window_is_said_in_its_place(
    running: RunningWorker,
) -> None:
    """HP-7.4-1 and HP-7.4-2: the frame `lost`, and then the number after it."""
    assert running.clock is not None
    async with running.client("alice") as alice, RawClient.open(running.url) as bob:
        day = 86_400
        long = running.token("bob", lifetime_s=day)
        await bob.connect(long)
        await send_many(alice, "bob", WINDOW + 10)
        await pushes(bob, WINDOW)
        keep = running.app.tier.retention_ms / 1000
        # Only the inbox grows older: the sessions' tokens would have ended long before.
        running.clock.now += keep - 60
        await send_many(alice, "bob", 1, first=WINDOW + 11)
        running.clock.now += 60
        await bob.send(frames.Ack(WINDOW))
        lost = await bob.expect(frames.Lost)
        assert (lost.first, lost.last) == (WINDOW + 1, WINDOW + 10)
        assert (await bob.expect(frames.Push)).seq == WINDOW + 11
        await bob.send(frames.Ack(WINDOW + 11))
        await quiet(bob)


async def test_what_is_gone_at_the_end_of_an_inbox_is_said_too(running: RunningWorker) -> None:
    """G5: also where nothing is left behind it. HP-7.4-2: the next one follows."""
    assert running.clock is not None
    async with running.client("alice") as alice, RawClient.open(running.url) as bob:
        await bob.connect(running.token("bob"))
        await send_many(alice, "bob", WINDOW + 10)
        await pushes(bob, WINDOW)
        running.clock.now += running.app.tier.retention_ms / 1000
        await bob.send(frames.Ack(WINDOW))
        lost = await bob.expect(frames.Lost)
        assert (lost.first, lost.last) == (WINDOW + 1, WINDOW + 10)
        await bob.send(frames.Ack(lost.last))
        await send_many(alice, "bob", 1, first=WINDOW + 11)
        assert (await bob.expect(frames.Push)).seq == WINDOW + 11


# -- records that can't be read ------------------------------------------------------------------


def inbox_key(running: RunningWorker, user: str) -> str:
    """Where the store keeps a user's inbox."""
    return Keys("sg").user(running.app.id, user).inbox


@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff" * 16 + b"\x05d:a:b", b"g" * 200])
async def test_a_record_that_was_tampered_with_holds_up_nobody(
    running: RunningWorker, store: Any, garbage: bytes
) -> None:
    """G5 and G7: its place is said to be lost, and the next one is delivered."""
    async with running.client("alice") as alice:
        await send_many(alice, "bob", 3)
    key = inbox_key(running, "bob")
    entries = store.xrange(key)
    store.delete(key)
    for entry_id, fields in entries:
        second = entry_id.endswith(b"-2")
        store.xadd(key, {b"m": garbage if second else fields[b"m"]}, id=entry_id)
    async with running.client("bob") as bob:
        assert (await bob.expect(frames.Push)).seq == 1
        assert await bob.expect(frames.Lost) == frames.Lost(2, 2)
        push = await bob.expect(frames.Push)
        assert (push.seq, push.message.body) == (3, b"m3")
        await bob.send(frames.Ack(3))
        await quiet(bob)


async def test_a_record_that_was_moved_from_another_inbox_is_not_shown(
    running: RunningWorker, store: Any
) -> None:
    """G7: who can write to Redis can't hand alice's and carol's words to bob."""
    async with running.client("alice") as alice:
        await send_many(alice, "carol", 1)
        await send_many(alice, "bob", 1, first=2)
    (_, carols), *_ = store.xrange(inbox_key(running, "carol"))
    key = inbox_key(running, "bob")
    ((entry_id, _),) = store.xrange(key)
    store.delete(key)
    store.xadd(key, carols, id=entry_id)
    async with running.client("bob") as bob:
        assert await bob.expect(frames.Lost) == frames.Lost(1, 1)


async def test_a_live_record_that_was_tampered_with_is_said_to_be_lost(
    running: RunningWorker, store: Any
) -> None:
    """G5: also where it comes through pub/sub."""
    async with running.client("bob") as bob:
        channel = Keys("sg").user(running.app.id, "bob").channel
        payload = b"\x01" + (1).to_bytes(8, "big") + (5).to_bytes(8, "big") + b"garbage" * 9
        store.execute_command("SPUBLISH", channel, payload)
        assert await bob.expect(frames.Lost) == frames.Lost(1, 1)


@pytest.mark.parametrize("online", [True, False])
async def test_a_message_under_a_key_we_lack_is_kept_for_who_has_it(
    settings: Settings, clock: FakeClock, online: bool
) -> None:
    """G1: 4001, nothing said to be lost, and still there with the right key file."""
    async with running_worker(settings, clock=clock) as old:
        app = old.app  # knows version 1 of the keys only
        Keyring.rotate(settings.key_file)
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
    async with running.client("bob") as bob:
        await note(bob, "bob", 3)
    async with running.client("bob", "d2") as bob:
        last = (await pushes(bob, 3))[-1]
        epoch = bob.connected.cursor.epoch
        names = Keys("sg").user(running.app.id, "bob")
        store.xtrim(names.inbox, maxlen=0)
        store.hset(names.meta, mapping={"q": "1", "t": str(last.ms)})
        running.pass_time(31)
        assert await bob.closed() == codes.STORE_UNAVAILABLE.number
    async with running.client("bob", "d2", cursor=Cursor(epoch, last.ms, 3)) as bob:
        connected = bob.connected
        assert connected.cursor.epoch != epoch
        assert not connected.resumed


@pytest.mark.parametrize(
    "payload", [b"", b"\x01", b"\x01 short", b"\x02x", b"\x03\xff", b"\x04\xff"]
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
