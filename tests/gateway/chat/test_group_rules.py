"""Mirrors gateway/chat/group_rules.py: who may do what, and what is refused. Over real sockets."""

from __future__ import annotations

from typing import Any

import pytest
from homeport import codes, frames

from tests.gateway.chat.grouping import ask, created, done, read, refused, said
from tests.harness import RunningWorker


@pytest.mark.parametrize(
    ("who", "request_", "code"),
    [
        ("member", ("rename", "x"), "not_allowed"),
        ("member", ("add", ["eve"]), "not_allowed"),
        ("member", ("remove", ["other"]), "not_allowed"),
        ("member", ("mute", True), "not_allowed"),
        ("member", ("mute", True, "other"), "not_allowed"),
        ("member", ("role", "other", "admin"), "not_allowed"),
        ("member", ("role", "member", "owner"), "not_allowed"),
        ("member", ("delete",), "not_allowed"),
        ("member", ("leave",), "ok"),
        ("admin", ("rename", "x"), "ok"),
        ("admin", ("add", ["eve"]), "ok"),
        ("admin", ("remove", ["other"]), "ok"),
        ("admin", ("remove", ["other", "owner"]), "not_allowed"),
        ("admin", ("remove", ["admin2"]), "not_allowed"),
        ("admin", ("remove", ["admin"]), "not_allowed"),
        ("admin", ("mute", True), "ok"),
        ("admin", ("mute", True, "other"), "ok"),
        ("admin", ("mute", True, "admin2"), "not_allowed"),
        ("admin", ("mute", True, "owner"), "not_allowed"),
        ("admin", ("role", "other", "admin"), "not_allowed"),
        ("admin", ("delete",), "not_allowed"),
        ("admin", ("leave",), "ok"),
        ("owner", ("remove", ["admin"]), "ok"),
        ("owner", ("remove", ["owner"]), "not_allowed"),
        ("owner", ("mute", True, "admin"), "ok"),
        ("owner", ("mute", True, "owner"), "not_allowed"),
        ("owner", ("role", "other", "admin"), "ok"),
        ("owner", ("role", "admin", "member"), "ok"),
        ("owner", ("role", "admin", "owner"), "ok"),
        ("owner", ("role", "owner", "member"), "owner_stays"),
        ("owner", ("role", "nobody", "admin"), "not_a_member"),
        ("owner", ("mute", True, "nobody"), "not_a_member"),
        ("owner", ("leave",), "owner_stays"),
        ("owner", ("add", ["a b"]), "invalid_field"),
        ("outsider", ("rename", "x"), "not_a_member"),
        ("outsider", ("add", ["outsider"]), "not_a_member"),
        ("outsider", ("remove", ["member"]), "not_a_member"),
        ("outsider", ("mute", True), "not_a_member"),
        ("outsider", ("role", "member", "admin"), "not_a_member"),
        ("outsider", ("delete",), "not_a_member"),
        ("outsider", ("get",), "not_a_member"),
        ("outsider", ("leave",), "ok"),
    ],
    ids=str,
)
async def test_who_may_do_what(
    running: RunningWorker, who: str, request_: tuple[Any, ...], code: str
) -> None:
    """HP-11.4-1, HP-11.4-2, HP-11.4-3, HP-11.4-5: each row; what is refused changes nothing."""
    async with running.client("owner") as owner, running.client(who, "d2") as client:
        group = await created(owner, "admin", "admin2", "member", "other")
        await done(owner, "role", group, "admin", "admin")
        await done(owner, "role", group, "admin2", "admin")
        before = await done(owner, "get", group)
        what, *fields = request_
        answer = await ask(client, what, group, *fields)
        if code == "ok":
            assert isinstance(answer, frames.Ok)
            return
        assert isinstance(answer, frames.Error)
        assert codes.ERRORS[answer.code].name == code
        assert await done(owner, "get", group) == before


async def test_handing_over(running: RunningWorker) -> None:
    """HP-11.4-4: one owner at any time; the former one is an admin, and may leave."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        group = await created(alice, "bob")
        await done(alice, "role", group, "bob", "owner")
        info = await done(alice, "get", group)
        assert [(m.user, m.role) for m in info.members] == [("alice", "admin"), ("bob", "owner")]
        assert await refused(alice, "delete", group) == "not_allowed"
        await done(alice, "leave", group)
        await done(bob, "delete", group)


async def test_muted_members_may_read_and_not_send(gateway: RunningWorker) -> None:
    """HP-11.2-5: one, or all but owner and admins."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice, "bob", "carol")
        await done(alice, "mute", group, True, "bob")
        assert await said(bob, group, "x") == "muted"
        assert await said(alice, group, "1") == "ok"
        await done(alice, "mute", group, False, "bob")
        assert await said(bob, group, "2") == "ok"
        await done(alice, "mute", group, True)
        assert await said(bob, group, "x") == "muted"
        assert await said(alice, group, "3") == "ok"
        await done(alice, "role", group, "bob", "admin")
        assert await said(bob, group, "4") == "ok"
        texts = [each for each in await read(bob) if len(each) == 1]
        assert texts == ["1", "2", "3", "4"]


async def test_sends_that_are_no_good(gateway: RunningWorker) -> None:
    """HP-11.2-3, HP-11.2-4, HP-11.3-4: the connection is kept.

    No such group, deleted, not in it, no id, the server's own kind.
    """
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice)
        assert await said(bob, group, "x") == "not_a_member"
        assert await said(bob, "0" * 32, "x") == "unknown_group"
        for bad in ("", "x", "0" * 31, "A" * 32, "0" * 33):
            assert await said(bob, bad, "x") == "unknown_recipient"
        await done(alice, "delete", group)
        assert await said(alice, group, "x") == "unknown_group"
        for what, *fields in (("get",), ("rename", "x"), ("leave",), ("add", ["bob"])):
            assert await refused(alice, what, group, *fields) == "unknown_group"
        assert await refused(alice, "create", "c-team", "team", []) == "unknown_group"
        await bob.send(frames.Send(7, "k", "alice", "homeport.group", b""))
        assert (await bob.until(frames.Error)).code == codes.INVALID_FIELD.number
        assert await read(alice) == ["created alice alice team", "deleted alice"]


async def test_a_repeat_goes_by_the_membership_of_the_first(gateway: RunningWorker) -> None:
    """HP-11.2-8: its sender is muted, removed, or the group is gone since; it stands once, and
    nobody who came later gets it. A client whose `ok` was lost was told that its message, which
    everybody had read, was refused."""

    async def repeat() -> frames.Accepted:
        return await bob.ask(frames.Send, "k", f"g:{group}", "text", b"stays")

    async with (
        gateway.client("alice") as alice,
        gateway.client("bob") as bob,
        gateway.client("carol") as carol,
    ):
        group = await created(alice, "bob")
        first = await repeat()
        assert first.seq == 2
        await done(alice, "add", group, ["carol"])
        assert await repeat() == first
        await done(alice, "mute", group, True, "bob")
        assert (await repeat(), await said(bob, group, "new")) == (first, "muted")
        await done(alice, "remove", group, ["bob"])
        assert (await repeat(), await said(bob, group, "new")) == (first, "not_a_member")
        assert (await read(alice)).count("stays") == 1
        assert "stays" not in await read(carol)
        await done(alice, "delete", group)
        assert (await repeat(), await said(bob, group, "new")) == (first, "unknown_group")


async def test_a_group_is_as_large_as_the_tier_says(gateway: RunningWorker) -> None:
    """HP-11.1-3: free has 100; what does not fit adds nobody, and a place that is left is free."""
    users = [f"u{n:03}" for n in range(100)]
    async with gateway.client("alice") as alice:
        assert await refused(alice, "create", "c", "n", users) == "group_full"
        group = await created(alice, *users[:98])
        assert await refused(alice, "add", group, users[98:]) == "group_full"
        await done(alice, "add", group, users[97:99])
        assert await refused(alice, "add", group, users[99:]) == "group_full"
        await done(alice, "remove", group, users[:1])
        await done(alice, "add", group, users[99:])
        info = await done(alice, "get", group)
        assert info.size == 100
