"""What goes wrong between two features: blocks and groups or signals, requests without a store."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from homeport import codes, frames
from homeport.frames import ClientFrame, Signal, Signaled

from gateway.dev.embedded import EmbeddedValkey
from gateway.redis import connection
from tests.gateway.chat.grouping import created, said
from tests.gateway.chat.test_blocking import done, until_blocked
from tests.harness import RawClient, RunningWorker, make_settings, running_worker, until

GROUP = "0" * 32


async def test_a_signal_to_who_blocks_the_sender_is_refused(running: RunningWorker) -> None:
    """HP-18.2-6: told with id 0, heard by nobody; the connection stays."""
    async with running.client("alice") as alice, running.client("mallory") as mallory:
        await done(alice, frames.Block, "mallory")
        await until_blocked(mallory, "alice")
        await mallory.send(Signal("alice", "typing", b""))
        error = await mallory.until(frames.Error)
        assert (error.id, error.code) == (frames.NO_REQUEST, codes.BLOCKED.number)
        await alice.send(Signal("mallory", "the other way", b""))
        assert (await mallory.until(Signaled)).kind == "the other way"
        # What mallory said before the block held may still come.
        assert {type(each) for each in await running.under_way(alice)} <= {frames.Push}


async def test_a_block_is_no_wall_in_a_group(running: RunningWorker) -> None:
    """HP-18.2-5: messages and signals to a group both are in reach the blocker as before."""
    async with running.client("alice") as alice, running.client("mallory") as mallory:
        group = await created(alice, "mallory")
        await done(alice, frames.Block, "mallory")
        await until_blocked(mallory, "alice")
        assert await said(mallory, group, "to all") == "ok"
        while (push := await alice.until(frames.Push)).message.body != b"to all":
            pass
        assert push.message.sender == "mallory"
        await mallory.send(Signal(f"g:{group}", "typing", b""))
        assert (await alice.until(Signaled)).sender == "mallory"


@pytest.mark.parametrize(
    "request_",
    [
        frames.GroupCreate(7, "c1", "team"),
        frames.GroupRename(7, GROUP, "crew"),
        frames.GroupDelete(7, GROUP),
        frames.GroupAdd(7, GROUP, ["bob"]),
        frames.GroupRemove(7, GROUP, ["bob"]),
        frames.GroupLeave(7, GROUP),
        frames.GroupJoin(7, GROUP),
        frames.GroupRole(7, GROUP, "bob", "admin"),
        frames.GroupMute(7, GROUP, True),
        frames.GroupGet(7, GROUP),
        frames.GroupList(7),
        frames.Send(7, "c1", f"g:{GROUP}", "text", b"hi"),
        frames.History(7, "bob"),
        frames.Forget(7, "bob", 1),
        frames.Conversations(7),
    ],
    ids=lambda frame: type(frame).__name__,
)
async def test_without_a_store_every_request_is_put_off(
    running: RunningWorker, request_: ClientFrame
) -> None:
    """HP-4.6-1, HP-7.1-6: one answer, unavailable with `retry_after`; then the session goes on."""
    async with running.client("alice") as alice:
        with running.inside.cut_off():
            await alice.send(request_)
            error = await alice.expect(frames.Error)
            assert (error.id, error.code) == (7, codes.UNAVAILABLE.number)
            assert error.retry_after
        assert isinstance(await alice.say("bob", "again"), frames.Ok)


async def test_a_store_that_says_nothing_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-4.6-4, HP-4.6-5: requests and a connect are answered once the link is given up, and each
    may be asked again on the same connection. The link's limit is 5 s, looked at each second.
    """
    assert connection.SILENCE_LIMIT_S + connection.WATCH_S <= 6 < 30
    monkeypatch.setattr(connection, "SILENCE_LIMIT_S", 0.3)
    monkeypatch.setattr(connection, "WATCH_S", 0.05)
    monkeypatch.setattr("gateway.session.connecting.CONNECT_TIMEOUT_S", 1.0)
    with EmbeddedValkey(tmp_path / "valkey") as store:
        async with (
            running_worker(make_settings(store.url, tmp_path)) as running,
            running.client("alice") as alice,
            RawClient.open(running.url) as late,
        ):
            os.kill(store.pid, signal.SIGSTOP)
            try:
                asked: list[ClientFrame] = [
                    frames.Send(7, "c1", "bob", "text", b"hi"),
                    frames.History(8, "bob"),
                    frames.Unread(9),
                    frames.RoomJoin(10, "lobby"),
                    frames.GroupList(11),
                    frames.Blocks(12),
                ]
                for request in asked:
                    await alice.send(request)
                await late.send(frames.Connect(1, "d1", running.token("bob")))
                refused = [await alice.until(frames.Error) for _ in asked]
                assert {error.id for error in refused} == set(range(7, 13))
                assert {error.code for error in refused} == {codes.UNAVAILABLE.number}
                error = await late.expect(frames.Error)
                assert (error.id, error.code) == (1, codes.UNAVAILABLE.number)
            finally:
                os.kill(store.pid, signal.SIGCONT)
            await until(lambda: running.inside.link.up)
            answer = await alice.say("bob", "hi", "c1")
            assert isinstance(answer, frames.Ok)


@pytest.mark.parametrize(
    "request_",
    [
        frames.GroupCreate(7, "c1", ""),
        frames.GroupCreate(7, "c1", "x" * 129),
        frames.GroupCreate(7, "", "team"),
        frames.GroupCreate(7, "c1", "team", ["u"] * 101),
        frames.GroupAdd(7, "team", ["bob"]),
        frames.GroupRename(7, "A" * 32, "crew"),
        frames.GroupRole(7, GROUP, "bob", "boss"),  # type: ignore[arg-type]
        frames.GroupMute(7, GROUP, 1),  # type: ignore[arg-type]
        frames.GroupGet(7, GROUP, "x" * 65),
        frames.History(7, "bob", 0),
        frames.History(7, "bob", 101),
        frames.History(7, ""),
        frames.Conversations(7, 0),
        frames.Conversations(7, 101),
        frames.Conversations(7, 50, (1, "")),
        frames.Block(7, ""),
        frames.Block(7, "x" * 65),
    ],
    ids=str,
)
async def test_fields_out_of_range_are_told(running: RunningWorker, request_: ClientFrame) -> None:
    """HP-4.2-2, HP-4.2-3: invalid_field with the request's id, and the session goes on."""
    async with running.client("alice") as alice:
        await alice.send(request_)
        error = await alice.expect(frames.Error)
        assert (error.id, error.code) == (7, codes.INVALID_FIELD.number)
        assert isinstance(await alice.say("bob", "again"), frames.Ok)
