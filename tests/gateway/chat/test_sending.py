"""Sending: what `ok` promises, what is refused, and what happens while the store is away."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from homeport import codes, frames
from homeport.ids import message_id

from gateway.config import Settings
from gateway.dev.embedded import EmbeddedValkey
from gateway.store.keys import Keys
from tests.harness import (
    FakeClock,
    RawClient,
    RunningWorker,
    accepted,
    make_settings,
    running_worker,
)


@contextlib.asynccontextmanager
async def on_a_store_of_its_own(
    folder: Path, clock: FakeClock
) -> AsyncIterator[tuple[EmbeddedValkey, RunningWorker]]:
    """A gateway, and its store to stop and start."""
    with EmbeddedValkey(folder / "valkey") as own:
        settings: Settings = make_settings(own.url, folder)
        async with running_worker(settings, clock=clock) as running:
            yield own, running


async def quiet(client: RawClient) -> None:
    """Fail if the server has anything to say but the answer to this ping."""
    await client.send(frames.Ping())
    await client.expect(frames.Pong)


async def test_ok_tells_the_message_id_and_the_time(running: RunningWorker) -> None:
    """HP-7.1-1 and HP-4.6-1; and the number in the conversation, 0 where there is none."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        told = accepted(await alice.say("bob", "hello", "c1"))
        assert told.id == message_id(running.app.id, "alice", "c1")
        assert (told.time, told.seq) == (running.clock.ms, 1)
        assert accepted(await alice.say("carol", "hello", "c2")).seq == 1
        assert accepted(await alice.say("bob", "again", "c3")).seq == 2
        only = frames.Options(online_only=True)
        told = await alice.ask(frames.Send, "c4", "bob", "text", b"now", only)
        assert (told.time, told.seq) == (running.clock.ms, 0)


async def test_it_reaches_the_recipient_and_every_device_of_the_sender(
    running: RunningWorker,
) -> None:
    """HP-7.1-3 and HP-3.5-1: each with the same message, numbered in its own inbox."""
    async with (
        running.client("alice", "d1") as sending,
        running.client("alice", "d2") as other,
        running.client("bob") as bob,
    ):
        await bob.say("bob", "bob's own first")
        await sending.send(frames.Send(50, "c1", "bob", "text", b"hello"))
        got = await sending.until(frames.Push)
        assert await other.expect(frames.Push) == got
        assert (got.number, got.message.sender, got.message.to) == (1, "alice", "bob")
        theirs = await bob.until(frames.Push)
        if theirs.message.body != b"hello":
            theirs = await bob.until(frames.Push)
        assert (theirs.number, theirs.message) == (2, got.message)


async def test_a_message_to_oneself_is_put_in_once(running: RunningWorker) -> None:
    """HP-7.1-3."""
    async with running.client("alice") as alice, running.client("alice", "d2") as other:
        assert isinstance(await alice.say("alice", "note"), frames.Ok)
        push = await other.expect(frames.Push)
        assert (push.number, push.seq) == (1, 1)
        assert isinstance(await alice.say("alice", "note 2"), frames.Ok)
        assert (await other.expect(frames.Push)).message.body == b"note 2"


async def test_ok_is_not_sent_before_the_message_is_stored(
    running: RunningWorker, store: Any
) -> None:
    """HP-7.1-2 and G1: while Redis holds its answer back, so does the gateway."""
    async with running.client("alice") as alice:
        store.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        try:
            await alice.send(frames.Send(5, "c1", "bob", "text", b"hello"))
            await quiet(alice)
            await quiet(alice)
        finally:
            store.execute_command("CLIENT", "UNPAUSE")
        assert (await alice.until(frames.Ok)).id == 5
    async with running.client("bob") as bob:
        assert (await bob.expect(frames.Push)).message.body == b"hello"


async def test_a_repeated_send_adds_nothing(running: RunningWorker) -> None:
    """HP-7.1-4, HP-7.1-7 and G2: on the same connection, on another device, and whatever the body
    is now; each answer, the push and the history tell one time and number."""
    assert running.clock is not None
    async with (
        running.client("alice") as alice,
        running.client("alice", "d2") as again,
        running.client("bob") as bob,
    ):
        first = accepted(await alice.say("bob", "hello", "c1"))
        running.clock.advance(5)
        for client, text in ((alice, "hello"), (again, "hello"), (alice, "other")):
            assert accepted(await client.say("bob", text, "c1")) == first
        push = await bob.expect(frames.Push)
        assert (push.message.body, push.seq, push.message.time) == (b"hello", first.seq, first.time)
        assert await running.under_way(bob) == []
        page = await alice.ask(frames.History, "bob")
        assert [(each.seq, each.message) for each in page.entries] == [(push.seq, push.message)]


@pytest.mark.parametrize("to", ["bob", "alice"])
async def test_a_message_costs_redis_its_scripts_and_no_call_more(
    running: RunningWorker, store: Any, to: str
) -> None:
    """G9: one script numbers and keeps a message; one more refers the other user's inbox to it,
    where that lies in another bucket. Their pushes come with them, and nothing is asked before."""
    keys, app_id = Keys("sg"), running.app.id
    scripts = len({keys.inbox(app_id, user).bucket for user in ("alice", to)})
    send = running.inside.chat.messages.send
    async with running.inside.principals.user(app_id, "alice") as alice:
        await send(alice, "first", to, "text", b"x")[1]
        with store.monitor() as monitor:
            for number in range(30):
                await send(alice, f"c{number}", to, "text", b"x")[1]
            store.echo("the end")
            asked = 0
            for command in monitor.listen():
                if command["command"] == "ECHO the end":
                    break
                asked += command["client_type"] != "lua"
    # Now and then a chore asks for something, but not once per message.
    assert 30 * scripts <= asked < 30 * scripts + 15


async def test_client_message_ids_are_each_users_own(running: RunningWorker) -> None:
    """HP-7.1-4: the same user; another's same id is another message."""
    async with running.client("alice") as alice, running.client("carol") as carol:
        one = accepted(await alice.say("bob", "a", "c1"))
        two = accepted(await carol.say("bob", "c", "c1"))
        assert one.id != two.id
    async with running.client("bob") as bob:
        assert {(await bob.expect(frames.Push)).message.sender for _ in "12"} == {"alice", "carol"}


async def test_each_request_gets_exactly_one_answer(running: RunningWorker) -> None:
    """HP-4.6-1: good ones, repeated ones and refused ones, all in flight at once."""
    async with running.client("alice") as alice:
        body = b"x" * (running.app.tier.max_body + 1)
        expected: dict[int, type] = {}
        for number in range(100, 160, 3):
            await alice.send(frames.Send(number, f"c{number % 6}", "alice", "text", b"x"))
            await alice.send(frames.Send(number + 1, "c", "g:room", "text", b"x"))
            await alice.send(frames.Send(number + 2, "big", "alice", "text", body))
            expected |= {number: frames.Ok, number + 1: frames.Error, number + 2: frames.Error}
        await alice.send(frames.Renew(900, running.token("alice")))
        expected[900] = frames.Ok
        answers: dict[int, type] = {}
        while len(answers) < len(expected):
            frame = await alice.receive()
            if isinstance(frame, frames.Ok | frames.Error):
                assert frame.id not in answers
                answers[frame.id] = type(frame)
        assert answers == expected
        await alice.send(frames.Ping())
        assert not isinstance(await alice.receive(), frames.Ok | frames.Error)


@pytest.mark.parametrize("to", ["g:team", "d:alice:bob", "x:", ":", "a b", "böb", "/"])
async def test_other_forms_of_recipients_are_unknown(running: RunningWorker, to: str) -> None:
    """HP-3.5-2: and the connection is kept."""
    async with running.client("alice") as alice:
        answer = await alice.say(to, "x")
        assert isinstance(answer, frames.Error)
        assert answer.code == codes.UNKNOWN_RECIPIENT.number
        assert isinstance(await alice.say("bob", "x"), frames.Ok)


async def test_a_body_of_the_limit_is_sent_and_one_byte_more_is_not(
    running: RunningWorker,
) -> None:
    """HP-7.1-5: and the connection is kept."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        limit = alice.connected.limits.max_body
        assert isinstance(await alice.say("bob", "x" * limit), frames.Ok)
        answer = await alice.say("bob", "y" * (limit + 1))
        assert isinstance(answer, frames.Error)
        assert answer.code == codes.BODY_TOO_LARGE.number
        assert isinstance(await alice.say("bob", "z"), frames.Ok)
        assert (await bob.expect(frames.Push)).message.body == b"x" * limit
        assert (await bob.expect(frames.Push)).message.body == b"z"


async def test_the_largest_body_there_is(settings: Settings, clock: FakeClock) -> None:
    """HP-7.1-5 and HP-2.3-3: 64 KiB of tier enterprise fit into a message."""
    async with (
        running_worker(settings, clock=clock, tier="enterprise") as running,
        running.client("alice") as alice,
        running.client("bob") as bob,
    ):
        assert isinstance(await alice.say("bob", "x" * 65_536), frames.Ok)
        assert len((await bob.expect(frames.Push)).message.body) == 65_536


async def test_a_change_of_tier_holds_for_live_sessions(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-7.1-5: the limit is that of now, and no reconnect is needed."""
    async with (
        running_worker(settings, clock=clock, tier="free") as running,
        running.client("alice") as alice,
        running.admin() as admin,
    ):
        large = "x" * 32_768
        assert isinstance(await alice.say("bob", large), frames.Error)
        await admin.apps.change(running.app.id, "tier", "pro", clock.ms)
        while isinstance(answer := await alice.say("bob", large), frames.Error):
            assert answer.code == codes.BODY_TOO_LARGE.number  # the word has not come yet
        await admin.apps.change(running.app.id, "tier", "free", clock.ms)
        while isinstance(answer := await alice.say("bob", large), frames.Ok):
            pass
        assert answer.code == codes.BODY_TOO_LARGE.number


@pytest.mark.parametrize(
    ("kind", "body"),
    [("text", b"\xff\xfe not UTF-8"), ("Ümläut\n\0", b""), ("k" * 32, bytes(range(256)))],
)
async def test_kind_and_body_mean_nothing_to_the_server(
    running: RunningWorker, kind: str, body: bytes
) -> None:
    """HP-4.6-3."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await alice.send(frames.Send(9, "c", "bob", kind, body))
        message = (await bob.expect(frames.Push)).message
        assert (message.kind, message.body) == (kind, body)


async def test_redis_never_sees_a_message(running: RunningWorker, store: Any) -> None:
    """G7: neither in its keys nor on its channels."""
    with store.monitor() as monitor:
        async with running.client("alice") as alice, running.client("bob") as bob:
            await alice.say("bob", "a-secret-nobody-may-see")
            await bob.expect(frames.Push)
        store.ping()
        seen = []
        for command in monitor.listen():
            seen.append(command["command"])
            if command["command"] == "PING" and len(seen) > 3:
                break
    assert any("EVALSHA" in command for command in seen)
    assert not any("a-secret" in command for command in seen)
    for key in store.scan_iter():
        assert b"a-secret" not in (store.dump(key) or b"")  # what limits a rate ends soon


async def test_while_the_store_is_away_a_send_is_refused_and_its_retry_adds_one(
    tmp_path: Path, clock: FakeClock
) -> None:
    """HP-7.1-6, G1 and G2: no ok, nothing half done, the connection kept; once after it is back."""
    async with (
        on_a_store_of_its_own(tmp_path, clock) as (own, running),
        running.client("alice") as alice,
        running.client("bob") as bob,
    ):
        await alice.say("bob", "before")
        await bob.expect(frames.Push)
        own.stop()
        answer = await alice.say("bob", "during", "c1")
        assert isinstance(answer, frames.Error)
        assert answer.code == codes.UNAVAILABLE.number
        assert answer.retry_after is not None
        assert answer.retry_after > 0
        await quiet(bob)
        own.start()
        while isinstance(answer := await alice.say("bob", "during", "c1"), frames.Error):
            assert answer.code == codes.UNAVAILABLE.number
        assert isinstance(await alice.say("bob", "during", "c1"), frames.Ok)
        push = await bob.expect(frames.Push)
        assert (push.seq, push.message.body) == (2, b"during")
        assert isinstance(await alice.say("bob", "after"), frames.Ok)
        assert (await bob.expect(frames.Push)).message.body == b"after"


async def test_a_send_in_flight_when_redis_goes_away_is_not_ok(
    running: RunningWorker, store: Any
) -> None:
    """HP-7.1-2, HP-7.1-6 and G2: nobody knows if it was done, and the retry finds out."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        store.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        try:
            await alice.send(frames.Send(5, "c1", "bob", "text", b"hello"))
            await quiet(alice)
            store.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            error = await alice.expect(frames.Error)
            assert (error.id, error.code) == (5, codes.UNAVAILABLE.number)
        finally:
            store.execute_command("CLIENT", "UNPAUSE")
        while isinstance(await alice.say("bob", "hello", "c1"), frames.Error):
            pass
        assert (await bob.expect(frames.Push)).message.body == b"hello"
        assert await running.under_way(bob) == []


async def test_a_store_that_refuses_a_write_is_our_fault_and_no_ok(
    running: RunningWorker, store: Any
) -> None:
    """G1 and HP-4.6-1: an inbox that holds something else gives `internal`, not silence."""
    store.set(Keys("sg").inbox(running.app.id, "bob").refs, "not a list")
    async with running.client("alice") as alice:
        answer = await alice.say("bob", "x")
        assert isinstance(answer, frames.Error)
        assert answer.code == codes.INTERNAL.number
        assert isinstance(await alice.say("carol", "x"), frames.Ok)
