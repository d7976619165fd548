"""Groups over real sockets: what members get, and what it costs."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from homeport import frames
from homeport.ids import group_id

from tests.gateway.chat.grouping import created, done, read, said
from tests.harness import RunningWorker


async def test_a_message_reaches_every_member_and_nobody_else(gateway: RunningWorker) -> None:
    """HP-3.5-3, HP-11.2-1, HP-11.2-2, G4: sender, online and offline members."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice, "bob", "carol")
        assert await said(alice, group, "hello") == "ok"
        notice = "created alice alice bob carol team"
        assert await read(alice) == [notice, "hello"]
        assert await read(bob) == [notice, "hello"]
    async with gateway.client("carol") as carol, gateway.client("mallory") as mallory:
        assert await read(carol) == [notice, "hello"]
        assert await read(mallory) == []


async def test_the_id_is_derived_and_create_may_be_repeated(gateway: RunningWorker) -> None:
    """HP-11.1-1 and HP-11.1-2: another create of the same name changes and tells nothing."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        result = await done(alice, "create", "c1", "team", ["bob", "alice", "bob"])
        expected = group_id(gateway.app.id, "alice", "c1")
        assert result.id == expected
        assert await done(alice, "create", "c1", "other", ["carol"]) == result
        info = await done(alice, "get", expected)
        assert (info.name, info.size, info.role) == ("team", 2, "owner")
        assert await done(bob, "create", "c1", "team", []) != result
        assert await read(alice) == ["created alice alice bob team"]


async def test_every_change_is_told_in_order_with_the_messages(gateway: RunningWorker) -> None:
    """HP-11.3-1 and HP-11.3-2: all members, the removed one too, the same for each."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice, "bob")
        await said(alice, group, "1")
        await done(alice, "rename", group, "crew")
        await said(alice, group, "2")
        await done(alice, "add", group, ["carol"])
        await said(alice, group, "3")
        await done(alice, "mute", group, True)
        await done(alice, "mute", group, True, "bob")
        await done(alice, "mute", group, False)
        await done(alice, "role", group, "carol", "admin")
        await done(alice, "remove", group, ["bob"])
        await said(alice, group, "4")
        early = ["created alice alice bob team", "1", "renamed alice crew", "2"]
        late = [
            "added alice carol crew",
            "3",
            "muted alice True",
            "muted alice bob True",
            "muted alice False",
            "role alice carol admin",
            "removed alice bob",
        ]
        assert await read(alice) == [*early, *late, "4"]
        assert await read(bob) == [*early, *late]
        async with gateway.client("carol") as carol:
            assert await read(carol) == [*late, "4"]
            await done(carol, "leave", group)
            await done(alice, "delete", group)
            assert await read(carol) == ["left carol carol"]
        assert await read(alice) == ["left carol carol", "deleted alice"]


async def test_a_repeated_change_is_ok_and_tells_nothing_again(gateway: RunningWorker) -> None:
    """HP-11.3-3: the SDK repeats a request whose answer was lost."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice, "bob")
        for what, *fields in (
            ("rename", group, "crew"),
            ("add", group, ["carol"]),
            ("mute", group, True, "carol"),
            ("mute", group, True),
            ("role", group, "bob", "admin"),
            ("remove", group, ["carol"]),
            ("role", group, "bob", "owner"),
            ("leave", group),
        ):
            await done(alice, what, *fields)
            await done(alice, what, *fields)
        await done(bob, "delete", group)
        await done(bob, "delete", group)
        assert len(await read(bob)) == 1 + 9
        assert len(await read(alice)) == 1 + 8


async def test_my_groups_and_pages(running: RunningWorker) -> None:
    """HP-11.5-1, HP-11.5-2: more than a page of groups, and of members, in order."""
    async with running.client("alice") as alice:
        ids = []
        for n in range(103):
            result = await done(alice, "create", f"c{n}", f"n{n}", ["bob"] if n % 2 else [])
            ids.append(result.id)
        first = await done(alice, "list")
        assert first.after == sorted(ids)[99]
        rest = await done(alice, "list", first.after)
        assert rest.after is None
        assert [each.id for each in [*first.groups, *rest.groups]] == sorted(ids)
        group = ids[102]
        for at in range(0, 600, 100):
            await done(alice, "add", group, [f"u{n:03}" for n in range(at, at + 100)])
        info = await done(alice, "get", group)
        assert (info.size, len(info.members), info.more) == (601, 500, True)
        more = await done(alice, "get", group, info.members[-1].user)
        assert (len(more.members), more.more) == (101, False)
    async with running.client("bob") as bob:
        mine = (await done(bob, "list")).groups
        assert [(each.role, each.size) for each in mine] == [("member", 2)] * 51
        await done(bob, "leave", mine[0].id)
        left = (await done(bob, "list")).groups
        assert left == mine[1:]


async def test_sends_of_one_client_keep_their_order(gateway: RunningWorker) -> None:
    """G3: a burst, of which the first finds the group not in memory and a change comes between."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice, "bob")
        for n in range(100):
            if n == 50:
                await alice.send(frames.GroupRename(5000, group, "crew"))
            await alice.send(frames.Send(1000 + n, f"m{n}", f"g:{group}", "text", b"%d" % n))
        for _ in range(101):
            await alice.until(frames.Ok)
        texts = [each for each in await read(bob) if each.isdigit()]
        assert texts == [str(n) for n in range(100)]


async def test_deleting_an_app_purges_its_groups(running: RunningWorker, store: Any) -> None:
    """HP-11.1-5: state, notices and every user's list of groups; another app's stay."""
    async with running.client("alice") as alice:
        await created(alice, "bob", "carol")
        await created(alice, "bob", name="two")
    async with running.admin() as admin:
        await admin.apps.delete(running.app.id)
    await running.inside.sweep()
    left = [key for pattern in ("*grp*", "*due") for key in store.scan_iter(pattern)]
    assert left == []


async def test_a_burst_is_one_question_and_one_call_a_bucket(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The price of a message to 1,000 members: a question, the history, and 256 calls at the most.

    And each gateway opens it once, though here 40 members have sessions.
    """
    users = [f"u{n:04}" for n in range(999)]
    async with contextlib.AsyncExitStack() as stack:
        alice = await stack.enter_async_context(running.client("alice"))
        group = await created(alice, *users[:100])
        for at in range(100, 999, 100):
            await done(alice, "add", group, users[at : at + 100])
        online = [await stack.enter_async_context(running.client(user)) for user in users[:40]]
        link, calls = running.inside.link, 0
        run = link.run

        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            return run(*arguments, **options)

        opened = 0
        sealer = running.inside.sealer
        open_ = sealer.open

        def counted_open(*arguments: Any) -> bytes:
            nonlocal opened
            opened += 1
            return open_(*arguments)

        monkeypatch.setattr(link, "run", counted)
        monkeypatch.setattr(sealer, "open", counted_open)
        assert await said(alice, group, "hello") == "ok"
        assert calls <= 1 + 1 + 256
        for client in online:
            while (await client.until(frames.Push)).message.body != b"hello":
                pass
        # Catching up opened notices; of the message itself, once.
        assert opened == 1
