"""Conversations' numbers in pushes, and what is said where they are given anew. Real sockets."""

from __future__ import annotations

from typing import Any

from homeport import frames
from homeport.ids import direct_conversation

from gateway.store.keys import Keys
from tests.gateway.session.talking import pushes, send_many
from tests.harness import RunningWorker


async def test_pushes_tell_both_numbers(running: RunningWorker) -> None:
    """HP-7.2-12, HP-13.1-7: each conversation counts for itself, and the inbox counts them all."""
    async with (
        running.client("alice") as alice,
        running.client("carol") as carol,
        running.client("bob") as bob,
    ):
        for sender in (alice, carol, alice, alice, carol):
            await sender.say("bob", "text")
        await bob.say("alice", "answer")
        got = [await bob.next(frames.Push) for _ in range(6)]
        assert [(push.number, push.message.sender, push.seq) for push in got] == [
            (1, "alice", 1),
            (2, "carol", 1),
            (3, "alice", 2),
            (4, "alice", 3),
            (5, "carol", 2),
            (6, "bob", 4),
        ]
        page = await alice.ask(frames.History, "bob")
        assert [(entry.seq, entry.message) for entry in page.entries] == [
            (push.seq, push.message) for push in reversed(got) if push.message.sender != "carol"
        ]


async def test_who_knew_other_messages_under_these_numbers_is_told_first(
    running: RunningWorker, store: Any
) -> None:
    """HP-7.5-1, HP-7.5-3, HP-7.5-4, G5: the store has lost the conversation, which begins anew. The
    reset takes the next number of the inbox and is acknowledged like a push."""
    head = Keys("sg").conversation(running.app.id, direct_conversation("alice", "bob")).head
    async with running.client("alice") as alice, running.client("bob") as bob:
        await send_many(alice, "bob", 3)
        assert [push.seq for push in await pushes(bob, 3)] == [1, 2, 3]
        store.delete(head)
        sent = await alice.ask(frames.Send, "anew", "bob", "text", b"anew")
        assert sent.seq == 1
        reset = await bob.expect(frames.Reset)
        assert (reset.number, reset.peer, reset.seq) == (4, "alice", 0)
        push = await bob.expect(frames.Push)
        assert (push.number, push.seq, push.message.body) == (5, 1, b"anew")
        page = await bob.ask(frames.History, "alice", 50, after=reset.seq)
        assert [(entry.seq, entry.message) for entry in page.entries] == [(1, push.message)]
        await bob.send(frames.Ack(4))
        cursor = frames.Cursor(bob.connected.cursor.epoch, reset.ms, reset.number)
    async with running.client("bob", cursor=cursor) as bob:
        assert (bob.connected.resumed, bob.connected.cursor) == (True, cursor)
        assert await bob.expect(frames.Push) == push
