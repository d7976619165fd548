"""What pub/sub brings late, and what several gateways store at once. Over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any
from unittest import mock

from homeport import codec, frames
from homeport.frames.recalls import RECALL_KIND
from homeport.ids import direct_conversation

from gateway.config import Settings
from gateway.store.lateness import FRESH_MS
from tests.gateway.replicas import two_workers
from tests.gateway.session.talking import pushes, quiet, send_many
from tests.harness import FakeClock, RawClient, RunningWorker, accepted, until


class HeldUp:
    """What pub/sub brings to the user `to` of `running`, while it is held up."""

    def __init__(self, running: RunningWorker, to: str) -> None:
        self._hub = running.inside.hub
        self._channel = running.inside.keys.user(running.app.id, to).channel.encode()
        self._heard: list[bytes] = []

    def hold(self, channel: bytes, payload: bytes) -> bool:
        """Keep what is for the user; as `Inside.losing` asks."""
        held = channel == self._channel and payload[0] == 1
        if held:
            self._heard.append(payload)
        return held

    async def came(self, count: int) -> None:
        """Wait until `count` messages were held up: each may come behind the ok to its send."""
        await until(lambda: len(self._heard) == count)

    def let_go(self) -> None:
        """Let the gateway hear them."""
        while self._heard:
            self._hub.heard(self._channel, self._heard.pop(0))


@contextlib.contextmanager
def held_up(running: RunningWorker, to: str) -> Iterator[HeldUp]:
    """Hold up what pub/sub brings to `to`."""
    held = HeldUp(running, to)
    with running.inside.losing(held.hold):
        yield held


async def test_what_was_recalled_while_its_push_was_held_up_is_not_shown(
    running: RunningWorker,
) -> None:
    """HP-13.4-1: after `ok` to the recall no device is sent the text, however late pub/sub is. It
    used to be pushed, and the device learned of the recall right behind it."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        with held_up(running, "bob") as held:
            sent = accepted(await alice.say("bob", "a secret"))
            await alice.ask(frames.Recall, "bob", sent.seq)
            await held.came(2)  # the notice too
        running.pass_time((FRESH_MS + 1) / 1000)
        held.let_go()
        for push in await pushes(bob, 2):
            assert push.message.kind == RECALL_KIND
            assert b"a secret" not in codec.encode(push)
        await quiet(bob)


async def test_what_came_late_is_read_once_for_all_that_waits(running: RunningWorker) -> None:
    """G3, G9: in order, and one page for many; what comes in time then is pushed as it comes."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        with held_up(running, "bob") as held:
            await send_many(alice, "bob", 3)
            await held.came(3)
        running.pass_time((FRESH_MS + 1) / 1000)
        before = running.inside.counts.catch_up_reads
        held.let_go()
        assert [push.message.body for push in await pushes(bob, 3)] == [b"m1", b"m2", b"m3"]
        assert running.inside.counts.catch_up_reads <= before + 2
        await send_many(alice, "bob", 1, first=4)
        assert (await bob.expect(frames.Push)).message.body == b"m4"
        await quiet(bob)


async def test_what_has_ended_while_its_push_was_held_up_is_lost(running: RunningWorker) -> None:
    """HP-12.2-1, HP-12.2-3: nothing is pushed past its end however late pub/sub is; also where it
    is not late by the time of the message, as the message had little time to live left."""
    options = frames.Options(ttl=1)
    async with running.client("alice") as alice, running.client("bob") as bob:
        with held_up(running, "bob") as held:
            await alice.send(frames.Send(7, "brief", "bob", "text", b"brief", options))
            await alice.until(frames.Ok)
            running.pass_time(1)
            await send_many(alice, "bob", 1)
            await held.came(2)
        held.let_go()
        assert await bob.expect(frames.Lost) == frames.Lost(1, 1)
        push = await bob.expect(frames.Push)
        assert (push.number, push.message.body) == (2, b"m1")
        await quiet(bob)


# -- two gateways ----------------------------------------------------------------------------------


def apart(running: RunningWorker, user: str) -> str:
    """Somebody whose inbox is in another bucket than their conversation with `user`."""
    keys, app = running.inside.keys, running.app.id
    for number in itertools.count():
        other = f"bob{number}"
        conversation = keys.conversation(app, direct_conversation(user, other))
        if keys.user(app, other).bucket != conversation.bucket:
            return other
    raise AssertionError


async def test_a_message_that_is_only_late_is_never_said_to_be_lost(
    settings: Settings, clock: FakeClock
) -> None:
    """G1, G3, G5: two gateways store in one conversation, and the later number is referred to
    first. Who refers to it refers to the earlier one too; that one is in the conversation since it
    has its number, so it is read, in order, and only once; and a cursor that names it is right."""
    async with two_workers(settings, clock) as (one, two):
        bob_name = apart(one, "alice")
        async with (
            one.client("alice", "phone") as phone,
            two.client("alice", "laptop") as laptop,
            one.client(bob_name) as here,
            two.client(bob_name, "d2") as there,
        ):
            with stuck_fan_out(one) as go_on:
                await phone.send(frames.Send(7, "c1", bob_name, "text", b"first"))
                await until(lambda: go_on.calls)
                assert accepted(await laptop.say(bob_name, "second", "c2")).seq == 2
                for bob in (here, there):
                    got = await pushes(bob, 2)
                    assert [push.message.body for push in got] == [b"first", b"second"]
                    assert [(push.number, push.seq) for push in got] == [(1, 1), (2, 2)]
                go_on.go_on()
                assert accepted(await until_ok(phone, 7)).seq == 1
            for bob in (here, there):
                await asyncio.gather(one.inside.saved(), two.inside.saved())
                await quiet(bob)
            cursor = frames.Cursor(here.connected.cursor.epoch, got[0].ms, 1)
        async with two.client(bob_name, "d3", cursor=cursor) as again:
            assert (again.connected.resumed, again.connected.lost) == (True, None)
            assert (await again.expect(frames.Push)).message.body == b"second"


class Stuck:
    """Calls of a gateway's to Redis that wait."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.send: Any = None

    def wait(self, *call: Any, **more: Any) -> None:
        """Instead of the call."""
        self.calls.append((call, more))

    def go_on(self) -> None:
        """Do now what waits."""
        for call, more in self.calls:
            self.send(*call, **more)


@contextlib.contextmanager
def stuck_fan_out(running: RunningWorker) -> Iterator[Stuck]:
    """This gateway's messages get their numbers, and their references only with `go_on`."""
    stuck, link = Stuck(), running.inside.link
    stuck.send = link.run_packed
    with mock.patch.object(link, "run_packed", stuck.wait):
        yield stuck


async def until_ok(client: RawClient, request_id: int) -> frames.Ok:
    """The answer to a request; what comes before it is passed over."""
    while (ok := await client.until(frames.Ok)).id != request_id:
        pass
    return ok
