"""The way out of an inbox: order, window, catch-up and gaps. Over real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from homeport import codes, frames
from homeport.limits import WINDOW
from structlog.testing import capture_logs

from gateway.session import hold
from gateway.session.session import Session
from gateway.store.keys import Keys
from tests.gateway.session.talking import note, pushes, quiet, send_many
from tests.harness import RawClient, RunningWorker, until


@contextlib.asynccontextmanager
async def dropped(running: RunningWorker, count: int) -> AsyncIterator[None]:
    """The next `count` stored messages that pub/sub brings to a gateway are lost, in the block."""
    left = count

    def lost(_: bytes, payload: bytes) -> bool:
        nonlocal left
        if payload[0] != 1 or not left:
            return False
        left -= 1
        return True

    with running.inside.losing(lost):
        yield
        await until(lambda: left == 0, f"{count} messages through pub/sub")


async def test_a_device_is_free_again_when_its_session_ends(
    running: RunningWorker, store: Any
) -> None:
    """HP-5.1-10: a session that had nothing new to acknowledge was once left as the device's
    holder, because its last word named no epoch."""
    row = Keys("sg").user(running.app.id, "bob").meta, "d:d1"
    async with running.client("bob", "d1") as bob:
        assert bob.connected.session.encode() in store.hget(*row)
    await until(lambda: bob.connected.session.encode() not in store.hget(*row))


async def test_a_session_that_ended_while_the_store_was_away_frees_its_device(
    running: RunningWorker, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-20.3-2: once the store is back; or its user would seem to be here for two minutes."""
    monkeypatch.setattr(hold, "FREE_EVERY_S", 0.01)
    row = Keys("sg").user(running.app.id, "bob").meta, "d:d1"
    with contextlib.ExitStack() as away:
        async with running.client("bob", "d1") as bob:
            away.enter_context(running.inside.cut_off())
        await until(lambda: not running.inside.sessions())
        assert bob.connected.session.encode() in store.hget(*row)
    await until(lambda: bob.connected.session.encode() not in store.hget(*row))


# -- order -------------------------------------------------------------------------------------


async def test_numbers_begin_at_1_and_are_dense(running: RunningWorker) -> None:
    """HP-7.2-1, HP-7.2-2 and G3."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await send_many(alice, "bob", 20)
        got = await pushes(bob, 20)
        assert [push.number for push in got] == list(range(1, 21))
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
        assert await running.under_way(one) == []
        assert [push.number for push in await pushes(two, 2)] == [3, 4]


async def test_a_message_waits_for_who_is_away(running: RunningWorker) -> None:
    """G4 and HP-7.2-6: a new device begins at the oldest message kept."""
    async with running.client("alice") as alice:
        await send_many(alice, "bob", 3)
    async with running.client("bob", "new") as bob:
        assert [push.message.body for push in await pushes(bob, 3)] == [b"m1", b"m2", b"m3"]


async def test_a_message_at_which_a_session_fails_reaches_it_and_all_others(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1 and G10: one session raised at what it was told, and neither its client nor the user's
    other devices got the message until something else was sent."""
    stored = Session.on_stored
    async with (
        running.client("alice") as alice,
        running.client("bob", "d1") as one,
        running.client("bob", "d2") as two,
    ):
        failing = running.inside.sessions("bob")[0]

        def broken(session: Session, number: int, ms: int, push: bytes | None) -> None:
            if session is failing:
                raise ZeroDivisionError
            stored(session, number, ms, push)

        monkeypatch.setattr(Session, "on_stored", broken)
        with capture_logs() as logs:
            await send_many(alice, "bob", 1)
            for client in (one, two):
                assert [push.message.body for push in await pushes(client, 1)] == [b"m1"]
        assert "listener_failed" in [log["event"] for log in logs]


# -- the window ----------------------------------------------------------------------------------


@pytest.mark.parametrize("online", [True, False])
async def test_no_more_than_the_window_is_in_flight(running: RunningWorker, online: bool) -> None:
    """HP-7.3-5 and G9: then nothing, until acks come; and then all the rest, in order."""
    total = WINDOW + 150
    async with running.client("alice") as alice:
        if online:
            async with running.client("bob") as bob:
                await send_many(alice, "bob", total)
                await _take_all(running, bob, total)
        else:
            await send_many(alice, "bob", total)
            async with running.client("bob") as bob:
                await _take_all(running, bob, total)


async def _take_all(running: RunningWorker, bob: RawClient, total: int) -> None:
    got = await pushes(bob, WINDOW)
    assert await running.under_way(bob) == []
    await bob.send(frames.Ack(got[-1].number))
    got += await pushes(bob, total - WINDOW)
    assert await running.under_way(bob) == []
    assert [push.number for push in got] == list(range(1, total + 1))
    assert [push.message.body for push in got] == [f"m{n}".encode() for n in range(1, total + 1)]


async def test_pushes_go_on_live_after_the_window_was_full(running: RunningWorker) -> None:
    """HP-7.3-5: what is stored while catching up comes once, behind it."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await send_many(alice, "bob", WINDOW + 20)
        await pushes(bob, WINDOW)
        await bob.send(frames.Ack(WINDOW))
        await send_many(alice, "bob", 30, first=WINDOW + 21)
        got = await pushes(bob, 50)
        assert [push.number for push in got] == list(range(WINDOW + 1, WINDOW + 51))


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


async def test_a_dropped_publish_is_healed_by_the_next_message(running: RunningWorker) -> None:
    """G3: pub/sub is a shortcut; a hole is read from the inbox, in order and once."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await send_many(alice, "bob", 1)
        await pushes(bob, 1)
        # alice's inbox hears of each message as well
        async with dropped(running, 6):
            await send_many(alice, "bob", 3, first=2)
        assert await running.under_way(bob) == []
        await send_many(alice, "bob", 1, first=5)
        assert [push.message.body for push in await pushes(bob, 4)] == [
            b"m2",
            b"m3",
            b"m4",
            b"m5",
        ]
        assert await running.under_way(bob) == []


async def test_a_dropped_publish_is_healed_by_the_regular_check(running: RunningWorker) -> None:
    """HP-7.2-11, G1: also when no message follows it."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        async with dropped(running, 2):
            await send_many(alice, "bob", 1)
        assert await running.under_way(bob) == []
        running.pass_time(31)
        assert (await bob.until(frames.Push)).message.body == b"m1"


async def test_a_killed_pubsub_connection_is_healed(running: RunningWorker, store: Any) -> None:
    """G3 and G10: what was missed comes when the connection is back, by itself and once."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await send_many(alice, "bob", 1)
        await pushes(bob, 1)
        async with dropped(running, 2):  # as if the connection had gone already
            await send_many(alice, "bob", 1, first=2)
        assert store.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        assert (await bob.expect(frames.Push)).message.body == b"m2"
        await send_many(alice, "bob", 1, first=3)
        assert (await bob.expect(frames.Push)).message.body == b"m3"
        assert await running.under_way(bob) == []


async def test_a_killed_link_is_healed(running: RunningWorker, store: Any) -> None:
    """G10: the connection for commands comes back too, and acks that were lost are said again."""
    async with running.client("bob") as bob:
        await note(bob, "bob", 3)
        await bob.send(frames.Ack(3))
        store.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        while isinstance(await bob.say("bob", "again"), frames.Error):
            pass
    async with running.client("bob") as bob:
        assert (await bob.expect(frames.Push)).number == 4
