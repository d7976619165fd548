"""Mirrors protocol/homeport/client/groups.py: the SDK's groups, against a real gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable

import pytest
from homeport import (
    Added,
    Client,
    ClientError,
    Event,
    GroupInvitation,
    NotAMember,
    RequestRefused,
    Signal,
)
from homeport.client.groups import READS
from homeport.frames import GroupGet, GroupMember, GroupNotice, GroupView
from msgspec import structs

from gateway.config import Settings
from tests.harness import RunningWorker, running_worker
from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import Peer


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[RunningWorker]:
    """A gateway with an app of tier pro."""
    async with running_worker(settings) as running:
        yield running


@contextlib.asynccontextmanager
async def client(gateway: RunningWorker, user: str) -> AsyncIterator[Client]:
    """A client of `gateway`."""
    async with Client(gateway.url, device="d1", token=gateway.token(user)) as connected:
        yield connected


async def refused(asking: Awaitable[object]) -> str:
    """The name of the code that a request is refused with."""
    with pytest.raises(RequestRefused) as caught:
        await asking
    return caught.value.name


async def test_a_group_from_its_beginning_to_its_end(gateway: RunningWorker) -> None:
    """HP-11.3-1: every method, and what the others are told of it."""
    async with client(gateway, "alice") as alice, client(gateway, "bob") as bob:
        group = await alice.create_group("team", ["bob", "carol", "bob"], client_id="c1")
        first = await group.info()
        assert (first.id, first.peer) == (group.id, group.peer)
        assert (first.name, first.role, first.muted, first.size) == ("team", "owner", False, 3)
        assert first.members == (
            GroupMember("alice", "owner", False),
            GroupMember("bob", "member", False),
            GroupMember("carol", "member", False),
        )
        again = await alice.create_group("team", client_id="c1")
        assert (again.id, await again.info()) == (group.id, first)
        bobs = bob.group(group.id)
        await bobs.send("hi")
        await group.rename("crew")
        await group.mute("bob")
        assert await refused(bobs.send("x")) == "muted"
        await group.unmute("bob")
        await group.mute()
        assert await refused(bobs.send("x")) == "muted"
        await group.unmute()
        await group.set_role("bob", "admin")
        await bobs.add(["dave"])
        await bobs.remove(["carol"])
        await bobs.leave()
        assert await refused(group.leave()) == "owner_stays"
        assert await refused(bobs.info()) == "not_a_member"
        (mine,) = await alice.groups()
        assert (mine.id, mine.name, mine.muted, mine.size, mine.members) == (
            group.id,
            "crew",
            False,
            2,
            (),
        )
        assert await bob.groups() == []

        told: list[GroupNotice] = []
        seqs: list[int] = []
        messages = alice.messages()

        async def read_until(change: str) -> None:
            async for message in messages:
                note = message.notice
                seqs.append(message.seq)
                assert message.peer == group.peer
                if not isinstance(note, GroupNotice):
                    assert (message.sender, message.to, message.text) == ("bob", group.peer, "hi")
                    continue
                assert (message.sender, message.to, message.own) == ("", group.peer, False)
                told.append(note)
                if note.change == change:
                    return

        await read_until("left")
        await group.delete()
        assert await alice.groups() == []
        assert await refused(group.info()) == "unknown_group"
        await read_until("deleted")
        versions = [note.version for note in told]
        assert versions[0] == first.version
        assert versions == sorted(set(versions)), "each change has a higher one"
        assert seqs == list(range(1, 13)), "notices are in the conversation's numbering"
        assert [structs.replace(note, version=0) for note in told] == [
            GroupNotice(0, "alice", "created", ["alice", "bob", "carol"], "team"),
            GroupNotice(0, "alice", "renamed", name="crew"),
            GroupNotice(0, "alice", "muted", ["bob"], muted=True),
            GroupNotice(0, "alice", "muted", ["bob"], muted=False),
            GroupNotice(0, "alice", "muted", muted=True),
            GroupNotice(0, "alice", "muted", muted=False),
            GroupNotice(0, "alice", "role", ["bob"], role="admin"),
            GroupNotice(0, "bob", "added", ["dave"], "crew"),
            GroupNotice(0, "bob", "removed", ["carol"]),
            GroupNotice(0, "bob", "left", ["bob"]),
            GroupNotice(0, "alice", "deleted"),
        ]


async def test_more_than_a_request_and_more_than_a_page(gateway: RunningWorker) -> None:
    """HP-11.5-1: 100 users a request, 500 members a page; HP-11.1-3: and 1,000 at most."""
    users = [f"u{n:04}" for n in range(999)]
    async with client(gateway, "alice") as alice:
        group = await alice.create_group("all", users)
        assert [member.user for member in (await group.info()).members] == ["alice", *users]
        assert await refused(group.add(["one-more"])) == "group_full"
        await group.remove(users[:150])
        assert (await group.info()).size == 850


async def test_a_list_of_more_than_a_page(gateway: RunningWorker) -> None:
    """HP-11.5-2: 100 groups a page."""
    async with client(gateway, "alice") as alice:
        made = {(await alice.create_group(f"n{n}")).id for n in range(101)}
        assert [each.id for each in await alice.groups()] == sorted(made)


async def tell(peer: Peer, *versions: int) -> None:
    """Answer groupget with pages of one member, two a group, at these versions of it."""
    for version in versions:
        asked = await peer.expect(GroupGet)
        members = [GroupMember("b" if asked.after else "a", "member", False)]
        info = GroupView(asked.group, version, "n", "member", False, 2, members, not asked.after)
        await peer.done(asked, info)


async def test_a_group_that_changes_while_it_is_read(setting: Setting) -> None:
    """HP-11.5-1: pages of two versions are never put together."""
    async with setting.live() as (reader, peer):
        reading = asyncio.create_task(reader.group("0" * 32).info())
        await tell(peer, 1, 2, 2, 3, 3, 3)
        info = await reading
        assert (info.version, [member.user for member in info.members]) == (3, ["a", "b"])
        reading = asyncio.create_task(reader.group("0" * 32).info())
        await tell(peer, *range(2 * READS))
        with pytest.raises(ClientError, match="changed again and again"):
            await reading


async def test_reprs_tell_no_names(gateway: RunningWorker) -> None:
    """G7: a group in a log does not say what it is called, or who is in it."""
    async with client(gateway, "alice") as alice:
        group = await alice.create_group("secret", ["bob"])
        for shown in (repr(group), repr(await group.info()), repr(alice.conversation("bob"))):
            assert "secret" not in shown
            assert "bob" not in shown


async def test_a_signal_to_a_group(gateway: RunningWorker) -> None:
    """HP-16.1-7: an event of every member's clients; a no comes to nobody but the log."""
    heard: asyncio.Queue[Event] = asyncio.Queue()
    bob = Client(gateway.url, device="d1", token=gateway.token("bob"), on_event=heard.put_nowait)
    async with client(gateway, "alice") as alice, bob, client(gateway, "mallory") as mallory:
        group = await alice.create_group("team", ["bob"])
        assert mallory.group(group.id).signal("typing")
        with pytest.raises(NotAMember):
            await mallory.group(group.id).send("so the signal before it was refused")
        assert group.signal("typing", "x")
        while not isinstance(event := await heard.get(), Signal):
            pass
        assert event == Signal("alice", group.peer, "typing", b"x")


async def test_who_left_is_invited_and_comes_back_by_themself(gateway: RunningWorker) -> None:
    """HP-11.6-2, HP-11.6-4, HP-11.6-5, HP-11.6-7: `add` says who is not a member, also of more than
    one request; the invited find it in their messages."""
    async with client(gateway, "alice") as alice, client(gateway, "bob") as bob:
        async with client(gateway, "carol") as carol:
            await carol.block("alice")
        group = await alice.create_group("team", ["bob"])
        his = bob.group(group.id)
        await his.leave()
        many = [f"u{n}" for n in range(150)]
        added = await group.add([*many, "bob", "carol"])
        assert (added.invited, added.blocked) == (("bob",), ("carol",))
        assert (await group.info()).size == 151
        async for message in bob.messages():
            notice = message.notice
            if isinstance(notice, GroupInvitation):
                assert (message.sender, message.peer) == ("alice", "alice")
                assert (notice.group, notice.name) == (group.id, "team")
                break
        await his.join()
        assert (await group.add(["bob"])) == Added((), ())
        assert await refused(carol_joins(gateway, group.id)) == "not_invited"


async def carol_joins(gateway: RunningWorker, group: str) -> None:
    """Carol, who was never invited, tries."""
    async with client(gateway, "carol") as carol:
        await carol.group(group).join()
