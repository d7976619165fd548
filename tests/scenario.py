"""A day in the life of a gateway: everything that its clients and its operator can ask for, once.

For tests of what is under a gateway: a Redis of another kind must do all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial

from homeport import Client, Event, Message
from structlog.typing import EventDict

from tests.harness import RunningWorker, until

PATIENCE_S = 30.0
USERS = ("ann", "bob", "cat", "dan", "eve")  # in five buckets


@contextlib.asynccontextmanager
async def _client(
    running: RunningWorker, user: str, events: list[Event]
) -> AsyncIterator[tuple[Client, AsyncIterator[Message]]]:
    client = Client(running.url, device="phone", token=running.token(user), on_event=events.append)
    async with client:
        yield client, client.messages()


async def _get(messages: AsyncIterator[Message], text: str) -> Message:
    """The message that says `text`; others before it are passed over."""
    async with asyncio.timeout(PATIENCE_S):
        async for message in messages:
            if message.kind == "text" and message.text == text:
                return message
    raise AssertionError(f"the messages ended before {text!r}")


async def _has_read(client: Client, peer: str) -> bool:
    return not (await client.unread()).get(peer, 0)


async def _is_read(client: Client, peer: str) -> bool:
    return any(mark.read for mark in await client.conversation(peer).receipts())


async def _is_at(client: Client, user: str, status: str) -> bool:
    return (await client.presence([user]))[user].status == status


async def everything(running: RunningWorker) -> None:
    """Use all of the gateway: each answer is as it should be, and none is a refusal."""
    heard: list[Event] = []
    async with contextlib.AsyncExitStack() as stack:
        ann, to_ann = await stack.enter_async_context(_client(running, "ann", heard))
        bob, to_bob = await stack.enter_async_context(_client(running, "bob", []))
        for user in USERS[2:]:
            await stack.enter_async_context(_client(running, user, []))
        async with running.admin() as admin:
            await admin.apps.change(running.app.id, "recall_s", 3600, int(time.time() * 1000))

        # direct, receipts, history
        sent = await ann.send("bob", "hello")
        got = await _get(to_bob, "hello")
        assert (got.id, got.seq) == (sent.id, 1)
        assert (await bob.unread())["ann"] == 1
        bob.mark_read(got)
        await until(partial(_has_read, bob, "ann"), "nothing to be unread", PATIENCE_S)
        await until(partial(_is_read, ann, "bob"), "the mark of reading", PATIENCE_S)
        assert [m.text async for m in ann.conversation("bob").history()] == ["hello"]
        await ann.edit(sent, "good day")
        history = ann.conversation("bob").history()
        assert [m.text async for m in history if m.kind == "text"] == ["good day"]
        await ann.recall(await ann.send("bob", "oops"))
        await bob.conversation("ann").delete_history()
        assert [m async for m in bob.conversation("ann").history()] == []

        # groups, over all buckets
        group = await ann.create_group("all", USERS[1:])
        await bob.send(group.peer, "to all")
        assert (await _get(to_ann, "to all")).sender == "bob"
        await group.rename("everyone")
        await group.set_role("bob", "admin")
        await group.mute("cat")
        await group.unmute("cat")
        await group.remove(["dan"])
        assert [each.name for each in await bob.groups()] == ["everyone"]
        assert len((await bob.group(group.id).info()).members) == len(USERS) - 1
        history = bob.conversation(group.peer).history()
        assert [m.text async for m in history if m.kind == "text"] == ["to all"]
        await group.delete()

        # rooms and signals
        await ann.room("news").set("admins", admins=["bob"])
        async with ann.room("lobby") as here, bob.room("lobby") as there:
            await here.send("in the room")
            assert here.signal("typing")
            async with asyncio.timeout(PATIENCE_S):
                assert (await anext(there)).text == "in the room"
        assert ann.conversation("bob").signal("typing")

        # presence, blocking
        assert (await ann.watch_presence(["bob"]))["bob"].state == "online"
        await bob.set_presence("away", status="tea")
        await until(partial(_is_at, ann, "bob", "tea"), "the status", PATIENCE_S)
        await bob.block("eve")
        assert await bob.blocks() == ("eve",)
        await bob.unblock("eve")

        # the operator, the sweeper
        now = int(time.time() * 1000)
        async with running.admin() as admin:
            assert [app.id for app in await admin.apps.all()] == [running.app.id]
            await admin.apps.change(running.app.id, "tier", "enterprise", now)
            await admin.access.revoke(running.app.id, "dan", now + 1000)
            await admin.access.kick(running.app.id, "eve")
        await running.inside.sweep()
        assert await ann.send("bob", "last")
        await _get(to_bob, "last")


def refusals(logs: list[EventDict]) -> list[EventDict]:
    """What Redis refused, by the log."""
    return [log for log in logs if str(log["event"]).startswith("redis_refused")]
