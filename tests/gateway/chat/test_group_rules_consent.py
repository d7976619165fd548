"""Nobody is put into a group against their will, nor asked again and again. Over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from homeport import frames
from homeport.limits import INVITATION_S, MAX_INVITATIONS

from gateway.apps.tiers import TIERS
from gateway.chat import group_rules
from gateway.config import Settings
from tests.gateway.chat.doors import Door, a_door, code_of
from tests.gateway.chat.grouping import created, done, read, refused, said
from tests.gateway.chat.test_blocking import until_blocked
from tests.harness import FakeClock, RunningWorker, until


def added(invited: list[str], blocked: list[str]) -> frames.GroupAdded:
    """The answer to groupadd."""
    return frames.GroupAdded(invited, blocked)


async def test_a_blocked_user_puts_the_blocker_into_no_group(running: RunningWorker) -> None:
    """HP-11.6-1, HP-11.6-4: mallory once made a group with an insult as its name and bob, who
    blocks her, in it: bob was pushed the name, and all that followed."""
    async with running.client("bob") as bob, running.client("mallory") as mallory:
        await bob.ask(frames.Block, "mallory")
        await until_blocked(mallory, "bob")
        before = await read(bob)
        group = await created(mallory, "bob", "carol", name="insult")
        assert await done(mallory, "add", group, ["bob", "dave"]) == added([], ["bob"])
        view = await done(mallory, "get", group)
        assert [each.user for each in view.members] == ["carol", "dave", "mallory"]
        await said(mallory, group, "hear me")
        assert before + await read(bob) == before
        assert await refused(bob, "join", group) == "not_invited"
        # Bob changes his mind: from then on he is added as anybody.
        await bob.ask(frames.Unblock, "mallory")
        await until_blocked(mallory, "bob", False)
        assert await done(mallory, "add", group, ["bob"]) == added([], [])
        assert "added mallory bob insult" in await read(bob)


async def test_leaving_is_final_until_the_leaver_joins_again(running: RunningWorker) -> None:
    """HP-11.6-2, HP-11.6-4, HP-11.6-5, HP-11.6-7, HP-11.3-1: bob left, and was added again at
    once. He is asked now, once, and comes back by his own word."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        group = await created(alice, "bob")
        await done(bob, "leave", group)
        assert await done(alice, "add", group, ["bob", "carol"]) == added(["bob"], [])
        assert await done(alice, "add", group, ["bob"]) == added(["bob"], [])
        await said(alice, group, "without bob")
        assert (await read(bob))[1:] == ["left bob bob", "invitation alice bob team"]
        assert (await bob.ask(frames.Unread)).rows == [("alice", 1)]
        await done(bob, "join", group)
        await done(bob, "join", group)
        assert await read(bob) == ["joined bob bob team"]
        assert await done(alice, "add", group, ["bob"]) == added([], [])
        assert await read(alice) == [
            "created alice alice bob team",
            "left bob bob",
            "added alice carol team invited bob",
            "invitation alice bob team",
            "without bob",
            "joined bob bob team",
        ]


async def test_an_admin_who_removed_a_member_may_add_them(running: RunningWorker) -> None:
    """HP-11.6-2: only who goes by their own will has to agree to come back."""
    async with running.client("alice") as alice:
        group = await created(alice, "bob")
        await done(alice, "remove", group, ["bob"])
        assert await done(alice, "add", group, ["bob"]) == added([], [])


async def test_a_declined_invitation_is_no_way_in_and_is_not_repeated(
    running: RunningWorker, clock: FakeClock
) -> None:
    """HP-11.6-6, HP-11.6-8: bob declines, and is left alone for 7 days."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        group = await created(alice, "bob")
        await done(bob, "leave", group)
        await done(alice, "add", group, ["bob"])
        await done(bob, "leave", group)
        await done(bob, "leave", group)
        assert await refused(bob, "join", group) == "not_invited"
        await done(alice, "add", group, ["bob"])
        assert (await read(bob))[2:] == ["invitation alice bob team"]
        assert (await read(alice))[-1] == "declined bob bob"
    clock.advance(INVITATION_S)
    async with running.client("alice") as alice, running.client("bob") as bob:
        assert await done(alice, "add", group, ["bob"]) == added(["bob"], [])
        assert (await read(bob))[-1] == "invitation alice bob team"
        await done(bob, "join", group)


async def test_an_invitation_ends(running: RunningWorker, clock: FakeClock) -> None:
    """HP-11.6-6, HP-11.6-7: after 7 days, on the millisecond."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        group = await created(alice, "bob")
        await done(bob, "leave", group)
        await done(alice, "add", group, ["bob"])
    clock.advance(INVITATION_S)
    async with running.client("bob") as bob:
        assert await refused(bob, "join", group) == "not_invited"
        assert await refused(bob, "join", "0" * 32) == "unknown_group"


async def test_nobody_joins_without_an_invitation(running: RunningWorker) -> None:
    """HP-11.6-7, HP-11.4-2: neither a stranger, nor who was removed, nor who left; and an
    invitation is for its user only."""
    async with (
        running.client("alice") as alice,
        running.client("bob") as bob,
        running.client("eve") as eve,
    ):
        group = await created(alice, "bob", "eve")
        await done(alice, "remove", group, ["eve"])
        await done(bob, "leave", group)
        for client in (bob, eve):
            assert await refused(client, "join", group) == "not_invited"
        await done(alice, "add", group, ["bob"])
        assert await refused(eve, "join", group) == "not_invited"


async def test_an_invitation_is_no_way_into_a_full_group(gateway: RunningWorker) -> None:
    """HP-11.6-7, HP-11.1-3: tier free has groups of 100."""
    most = TIERS["free"].group_members
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice, "bob")
        await done(bob, "leave", group)
        await done(alice, "add", group, ["bob"])
        await done(alice, "add", group, [f"u{n}" for n in range(most - 1)])
        assert await refused(bob, "join", group) == "group_full"


@pytest.fixture
async def door(settings: Settings, clock: FakeClock) -> AsyncIterator[Door]:
    """A door to a gateway with nobody connected."""
    async with a_door(settings, clock, "pro") as one:
        yield one


async def test_an_app_may_want_everybody_to_be_asked(door: Door) -> None:
    """HP-11.6-3 and the setting `group_adding`: nobody is added, not by groupcreate either."""
    running = door.running
    async with running.admin() as admin:
        await admin.apps.change(running.app.id, "group_adding", "invitation", door.clock.ms)
    alice, bob = await door.user("alice"), await door.user("bob")
    await until(lambda: alice.app.group_adding == "invitation")
    groups = door.chat.groups
    group = await groups.create(alice, "c1", "team", ["bob", "carol"])
    assert (await groups.get(alice, group)).size == 1
    assert await groups.add(alice, group, ["bob", "dave"]) == added(["bob", "dave"], [])
    await groups.join(bob, group)
    assert (await groups.get(alice, group)).size == 2


async def test_the_app_itself_asks_nobody(door: Door) -> None:
    """Section 11.6: what the back end does needs no consent, after a block and a leave either."""
    groups, app = door.chat.groups, await door.app()
    bob = await door.user("bob")
    group = await groups.create(app, "c1", "team", ["alice", "bob"])
    await groups.leave(bob, group)
    assert await groups.add(app, group, ["bob"]) == added([], [])
    assert (await groups.get(app, group)).size == 2
    await groups.leave(bob, group)
    assert await code_of(groups.join(bob, group)) == "not_invited"


async def test_invitations_are_bounded(door: Door) -> None:
    """HP-11.6-9: a group has no more than 100, and declining makes no room; time does."""
    running = door.running
    async with running.admin() as admin:
        await admin.apps.change(running.app.id, "group_adding", "invitation", door.clock.ms)
    alice = await door.user("alice")
    await until(lambda: alice.app.group_adding == "invitation")
    groups = door.chat.groups
    users = [f"u{n}" for n in range(MAX_INVITATIONS)]
    group = await groups.create(alice, "c1", "team", users)
    await groups.leave(await door.user("u0"), group)
    assert await code_of(groups.add(alice, group, ["late"])) == "too_many_invitations"
    door.clock.advance(INVITATION_S)
    assert await groups.add(alice, group, ["one"]) == added(["one"], [])
    names = running.inside.keys.group(running.app.id, group)
    fields = await running.inside.link.call("HKEYS", names.state)
    assert [each for each in fields if each.startswith(b"i:")] == [b"i:one"]


async def test_a_group_that_many_left_asks_everybody(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-11.6-3: what a group remembers is bounded, and who left is not added all the same."""
    monkeypatch.setattr(group_rules, "MAX_LEAVERS", 2)
    groups, alice = door.chat.groups, await door.user("alice")
    users = ["bob", "carol", "dave"]
    group = await groups.create(alice, "c1", "team", users)
    for user in users:
        assert await groups.add(alice, group, ["new"]) == added([], [])
        await groups.leave(await door.user(user), group)
    assert await groups.add(alice, group, [*users, "erin"]) == added([*users, "erin"], [])
    names = door.running.inside.keys.group(door.running.app.id, group)
    fields = await door.running.inside.link.call("HKEYS", names.state)
    assert sorted(each for each in fields if each.startswith(b"l")) == [b"l", b"l:bob", b"l:carol"]
