"""Mirrors protocol/homeport/client/conversations.py: the list of a user's conversations."""

from __future__ import annotations

import asyncio

from homeport import Client, ConversationInfo, Message, MessageRef, RecallNotice, frames
from homeport.frames import ConversationPage, ConversationRow, Conversations

from gateway.config import Settings
from tests.harness import running_worker
from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import Peer

GROUP = f"g:{'0f' * 16}"


def message(sender: str, to: str) -> frames.Message:
    """The last message of a conversation."""
    return frames.Message(b"i" * 16, sender, to, 900, "text", b"hello")


async def answer(
    peer: Peer, *rows: ConversationRow, next: tuple[int, str] | None = None
) -> Conversations:
    """Answer with a page."""
    asked = await peer.expect(Conversations)
    await peer.done(asked, ConversationPage(rows, next))
    return asked


async def test_a_new_device_fills_its_screen(setting: Setting) -> None:
    """HP-13.5-2: each row as its fields, with the last message as any other is shown."""
    async with setting.live() as (client, peer):

        async def read() -> list[ConversationInfo]:
            return [each async for each in client.conversations()]

        reading = asyncio.create_task(read())
        asked = await answer(
            peer,
            ConversationRow("bob", 12, 900, 2, 10, 0, message("bob", "alice")),
            ConversationRow(GROUP, 40, 800, 0, 40, 0, message("alice", GROUP)),
            ConversationRow("carol", 3, 700, 0, 0, 0),
            ConversationRow("g:gone", 9, 600, 1, 4, 9),
        )
        assert (asked.limit, asked.after) == (100, None)
        first, team, carol, gone = await reading
        assert (first.peer, first.seq, first.time, first.unread, first.read, first.until) == (
            "bob",
            12,
            900,
            2,
            10,
            0,
        )
        assert first.message is not None
        assert (first.message.peer, first.message.seq, first.message.text) == ("bob", 12, "hello")
        assert (first.message.own, first.message.cursor) == (False, None)
        assert team.message is not None
        assert (team.message.peer, team.message.seq, team.message.own) == (GROUP, 40, True)
        assert carol.message is None
        assert gone.until == 9
        assert "bob" not in repr(first)


async def test_the_list_is_read_page_by_page(setting: Setting) -> None:
    """HP-13.5-5: a page ends earlier than asked for where its messages are large; the next begins
    after the last row, and no more come than were asked for."""
    async with setting.live() as (client, peer):

        async def read() -> list[str]:
            return [each.peer async for each in client.conversations(limit=3)]

        reading = asyncio.create_task(read())
        first = await answer(peer, ConversationRow("bob", 1, 900, 0, 0), next=(900, "bob"))
        assert (first.limit, first.after) == (3, None)
        empty = await answer(peer, next=(850, "x"))
        assert (empty.limit, empty.after) == (2, (900, "bob"))
        rest = [ConversationRow(name, 1, 800, 0, 0) for name in ("carol", "dora")]
        last = await answer(peer, *rest, next=(800, "dora"))
        assert (last.limit, last.after) == (2, (850, "x"))
        assert await reading == ["bob", "carol", "dora"]


async def test_a_real_gateway_fills_the_screen_of_a_new_device(settings: Settings) -> None:
    """HP-13.5-1, HP-13.5-2, HP-13.4-3: what a phone shows that nothing was pushed to: rows, counts
    and last messages; their numbers are those of the pushes, of the history and of each request."""
    async with (
        running_worker(settings) as gateway,
        Client(gateway.url, device="laptop", token=gateway.token("alice")) as alice,
        Client(gateway.url, device="laptop", token=gateway.token("bob")) as bob,
    ):
        first = await bob.send("alice", "one")
        second = await bob.send("alice", "two", reply=first)
        team = await bob.create_group("team", ["alice"])
        asked = await team.send("who is there?")
        answered = await alice.conversation(team.peer).send("me", reply=MessageRef(team.peer, 2))
        assert (first.seq, second.seq, asked.seq, answered.seq) == (1, 2, 2, 3)

        pushed: list[Message] = []
        async for message in alice.messages():
            pushed.append(message)
            if message.id == answered.id:
                break
        assert [(each.peer, each.seq, each.reply) for each in pushed] == [
            ("bob", 1, None),
            ("bob", 2, 1),
            (team.peer, 1, None),
            (team.peer, 2, None),
            (team.peer, 3, 2),
        ]

        phone = Client(gateway.url, device="phone", token=gateway.token("alice"), ephemeral=True)
        async with phone:
            rows = [row async for row in phone.conversations()]
            assert [(row.peer, row.seq, row.unread) for row in rows] == [
                (team.peer, 3, 1),
                ("bob", 2, 2),
            ]
            shown = [row.message.text for row in rows if row.message is not None]
            assert shown == ["me", "two"]
            assert [row.peer async for row in phone.conversations(limit=1)] == [team.peer]

        await bob.edit(MessageRef("alice", 1), "first")
        await bob.recall(second)
        history = alice.conversation("bob").history(after=0)
        told = [message async for message in history]
        assert [message.seq for message in told] == [1, 2, 3, 4]
        assert (told[0].text, told[0].edits) == ("first", 1)
        assert {message.peer for message in told} == {"bob"}
        notice = RecallNotice(second.id, "bob", 2, "bob")
        assert (told[1].notice, told[3].notice) == (notice, notice)
        assert history.lost == 0
        await alice.conversation("bob").delete_history(upto=told[2])
        assert [message.seq async for message in alice.conversation("bob").history()] == [4]
