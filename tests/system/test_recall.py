"""Recall and edit on two gateway processes: who sees what, and what is left in Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import redis
from homeport import Client, EditNotice, Lost, Message, RecallNotice, Reset, Sent

from gateway.store.stored import parse_message
from tests.system.site import DEADLINE_S, PATIENCE_S, OpenSite, Site, ws

AROUND = 320
"""Messages before those that are changed, and after: some chunks of every conversation."""


async def _send(client: Client, to: str, texts: list[str]) -> list[Sent]:
    """Send texts one after the other."""
    return [await client.send(to, text, timeout=PATIENCE_S) for text in texts]


def _sealed(store: Any, messages: list[Sent]) -> list[bytes]:
    """The sealed bytes of messages, as Redis holds them now."""
    ids = {bytes.fromhex(message.id) for message in messages}
    kept = [
        parse_message(int(seq), value)
        for key in store.scan_iter("hp:*:conv:*", count=1000, _type="hash")
        for seq, value in store.hgetall(key).items()
        if seq.isdigit()
    ]
    # The last bytes: the ciphertext's end and its tag, behind what is the same in every version.
    return [each.record[-32:] for each in kept if each.record and each.record[:16] in ids]


def _left(site: Site, store: Any, needles: list[bytes]) -> dict[str, int]:
    """How many of `needles` are in the values, in an RDB file and in a fresh append-only file."""
    store.config_set("rdbcompression", "no")
    store.config_set("aof-use-rdb-preamble", "no")
    values = b"".join(store.dump(key) or b"" for key in store.scan_iter(count=1000))
    store.save()
    folder = Path(site.store.server.data_dir)
    rdb = b"".join(path.read_bytes() for path in folder.glob("*.rdb"))
    store.bgrewriteaof()
    while (
        store.info("persistence")["aof_rewrite_in_progress"]
        or (store.info("persistence")["aof_rewrite_scheduled"])
    ):
        pass
    aof = b"".join(path.read_bytes() for path in site.store.aof.iterdir())
    places = {"values": values, "rdb": rdb, "aof": aof}
    return {name: sum(each in place for each in needles) for name, place in places.items()}


async def _read(client: Client, count: int) -> list[Message]:
    """The next `count` messages."""
    got: list[Message] = []
    async with asyncio.timeout(DEADLINE_S):
        async for message in client.messages():
            got.append(message)
            if len(got) == count:
                return got
    raise AssertionError("the client was closed")


async def test_what_was_said_is_gone(open_site: OpenSite) -> None:
    """HP-13.4-1, HP-13.4-2, HP-13.4-3, G3, G7: in long conversations, for whoever is there or not.

    The sealed bytes are nowhere in Redis' memory, nor in what it saves from then on.
    """
    site = await open_site()
    one, two = await site.gateway("a"), await site.gateway("b")
    before = [f"before {n}" for n in range(AROUND)]
    after = [f"after {n}" for n in range(AROUND)]
    events: list[object] = []
    with redis.Redis.from_url(site.store.url) as store:
        async with (
            site.client(ws(one), "alice") as alice,
            site.client(ws(two), "bob") as bob,
        ):
            group = await alice.create_group("team", ["bob", "carol"])
            changed: list[Sent] = []
            for to in ("carol", group.peer):
                await _send(alice, to, before)
                changed += await _send(alice, to, ["oops", "teh"])
                await _send(alice, to, after)
            secrets = _sealed(store, changed)
            assert len(secrets) == 4
            assert _left(site, store, secrets)["values"] == 4
            for oops, typo in (changed[:2], changed[2:]):
                await alice.recall(oops)
                await alice.edit(typo, "the")
            assert _left(site, store, secrets) == {"values": 0, "rdb": 0, "aof": 0}
            assert len(_sealed(store, changed)) == 4

            # Who has them already is told.
            got = await _read(bob, 1 + 2 * AROUND + 4)
            recalled, edited = (message.notice for message in got[-2:])
            assert isinstance(recalled, RecallNotice)
            assert isinstance(edited, EditNotice)
            assert (recalled.message, recalled.by) == (changed[2].id, "alice")
            assert (edited.message, edited.text) == (changed[3].id, "the")

        # Who was away finds them changed, each in its place.
        async with site.client(ws(two), "carol", on_event=events.append) as carol:
            got = await _read(carol, 2 * (2 * AROUND + 2) + 1 + 4)
            for peer in ("alice", group.peer):
                seqs = [message.seq for message in got if message.peer == peer]
                assert seqs == list(range(1, len(seqs) + 1))
            by_id = {message.id: message for message in got}
            for oops, typo in (changed[:2], changed[2:]):
                gone = by_id[oops.id]
                note = gone.notice
                assert isinstance(note, RecallNotice)
                assert (note.message, note.sender, gone.sender) == (oops.id, "alice", "alice")
                assert (by_id[typo.id].text, by_id[typo.id].edits) == ("the", 1)
                conversation = carol.conversation(gone.peer)
                history = [m async for m in conversation.history() if m.sender]
                assert [m.text for m in history[:AROUND]] == after[::-1]
                assert (history[AROUND].text, history[AROUND + 1].body) == ("the", gone.body)
                assert [m.text for m in history[AROUND + 2 :]] == before[::-1]
    assert not [event for event in events if isinstance(event, Lost | Reset)]
