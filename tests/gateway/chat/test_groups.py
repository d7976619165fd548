"""Groups over real sockets: what members get, who may do what, what a removed one never gets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from gateway.apps.app import create_app
from gateway.config import Settings
from gateway.security.sealing import Tampered
from protocol import codec, codes, frames
from protocol.frames import GroupNotice
from protocol.ids import group_id
from tests.harness import FakeClock, RawClient, RunningWorker, make_settings, running_worker

FRAMES = {
    "create": frames.GroupCreate,
    "rename": frames.GroupRename,
    "delete": frames.GroupDelete,
    "add": frames.GroupAdd,
    "remove": frames.GroupRemove,
    "leave": frames.GroupLeave,
    "role": frames.GroupRole,
    "mute": frames.GroupMute,
    "get": frames.GroupGet,
    "list": frames.GroupList,
}


@pytest.fixture
async def gateway(store_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[RunningWorker]:
    """A gateway with an app of tier free, on either store."""
    async with running_worker(make_settings(store_url, tmp_path), tier="free", clock=clock) as one:
        yield one


@contextlib.asynccontextmanager
async def two_gateways(
    settings: Settings, clock: FakeClock
) -> AsyncIterator[tuple[RunningWorker, RunningWorker]]:
    """Two gateways of one region, with one app."""
    async with (
        running_worker(settings, clock=clock) as one,
        running_worker(settings, clock=clock, app=one.app) as two,
    ):
        yield one, two


async def ask(client: RawClient, what: str, *fields: Any) -> frames.Ok | frames.Error:
    """Ask about a group and return the answer; frames before it are kept for `read`."""
    request_id = client.request_id()
    await client.send(FRAMES[what](request_id, *fields))
    while True:
        frame = await client.receive()
        if isinstance(frame, frames.Ok | frames.Error) and frame.id == request_id:
            return frame
        _seen(client).append(frame)


async def done(client: RawClient, what: str, *fields: Any) -> frames.Result:
    """As `ask`, of what must be answered with ok."""
    answer = await ask(client, what, *fields)
    assert isinstance(answer, frames.Ok), answer
    return answer.result


async def refused(client: RawClient, what: str, *fields: Any) -> str:
    """As `ask`, of what must be refused; returns the name of the code."""
    answer = await ask(client, what, *fields)
    assert isinstance(answer, frames.Error), answer
    return codes.ERRORS[answer.code].name


async def said(client: RawClient, group: str, text: str, client_id: str | None = None) -> str:
    """Send a text to a group; "ok", or the name of the code it was refused with."""
    request_id = client.request_id()
    name = client_id or f"c{request_id}"
    await client.send(frames.Send(request_id, name, f"g:{group}", "text", text.encode()))
    while True:
        frame = await client.receive()
        if isinstance(frame, frames.Ok):
            return "ok"
        if isinstance(frame, frames.Error):
            assert frame.id == request_id
            return codes.ERRORS[frame.code].name
        _seen(client).append(frame)


def _seen(client: RawClient) -> list[frames.ServerFrame]:
    seen: list[frames.ServerFrame] = client.__dict__.setdefault("seen", [])
    return seen


async def read(client: RawClient) -> list[str]:
    """Every push so far, shortly: a text, or a notice as "change by users name role muted"."""
    await client.send(frames.Send(999, f"mark{client.request_id()}", "nobody", "text", b"mark"))
    found: list[str] = []
    numbers: list[int] = []
    seen = _seen(client)
    while True:
        frame = seen.pop(0) if seen else await client.receive()
        if not isinstance(frame, frames.Push):
            continue
        numbers.append(frame.seq)
        message = frame.message
        if message.body == b"mark":
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # G3
            return found
        if message.kind == "homeport.group":
            assert message.sender == ""
            note = msgspec.msgpack.decode(message.body, type=GroupNotice)
            words = [note.change, note.by, *note.users, note.name, note.role, note.muted]
            found.append(" ".join(str(word) for word in words if word is not None))
        else:
            found.append(message.body.decode())


async def created(client: RawClient, *members: str, name: str = "team") -> str:
    """Make a group and return its id."""
    result = await done(client, "create", f"c-{name}", name, list(members))
    assert result.id is not None
    return result.id.hex()


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
        assert result.id == bytes.fromhex(expected)
        assert await done(alice, "create", "c1", "other", ["carol"]) == result
        info = (await done(alice, "get", expected)).group
        assert info is not None
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
        info = (await done(alice, "get", group)).group
        assert info is not None
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
        info = (await done(alice, "get", group)).group
        assert info is not None
        assert info.size == 100


async def test_my_groups_and_pages(running: RunningWorker) -> None:
    """HP-11.5-1, HP-11.5-2: more than a page of groups, and of members, in order."""
    async with running.client("alice") as alice:
        ids = []
        for n in range(103):
            result = await done(alice, "create", f"c{n}", f"n{n}", ["bob"] if n % 2 else [])
            assert result.id is not None
            ids.append(result.id.hex())
        first = await done(alice, "list")
        assert first.groups is not None
        assert first.after == sorted(ids)[99]
        rest = await done(alice, "list", first.after)
        assert rest.groups is not None
        assert rest.after is None
        assert [each.id for each in [*first.groups, *rest.groups]] == sorted(ids)
        group = ids[102]
        for at in range(0, 600, 100):
            await done(alice, "add", group, [f"u{n:03}" for n in range(at, at + 100)])
        info = (await done(alice, "get", group)).group
        assert info is not None
        assert (info.size, len(info.members), info.more) == (601, 500, True)
        more = (await done(alice, "get", group, info.members[-1].user)).group
        assert more is not None
        assert (len(more.members), more.more) == (101, False)
    async with running.client("bob") as bob:
        mine = (await done(bob, "list")).groups
        assert mine is not None
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


async def test_a_repeated_send_adds_nothing(settings: Settings, clock: FakeClock) -> None:
    """G2: on another gateway, also to members in many buckets."""
    users = [f"u{n}" for n in range(50)]
    async with two_gateways(settings, clock) as (one, two):
        async with one.client("alice") as alice:
            group = await created(alice, *users)
            assert await said(alice, group, "once", "c1") == "ok"
        async with two.client("alice") as alice:
            assert await said(alice, group, "once", "c1") == "ok"
        for user in users[:10]:
            async with two.client(user) as client:
                assert (await read(client))[1:] == ["once"]


async def test_a_gateway_with_an_old_list_sends_by_the_new_one(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-11.2-6: two has the group in memory; one removes bob, adds carol, mutes dave."""
    async with (
        two_gateways(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("alice", "d2") as other,
        two.client("bob") as bob,
        two.client("dave") as dave,
        two.client("carol") as carol,
    ):
        group = await created(alice, "bob", "dave")
        assert await said(other, group, "before") == "ok"
        await done(alice, "remove", group, ["bob"])
        assert await said(bob, group, "x") == "not_a_member"
        assert await said(other, group, "after") == "ok"
        await done(alice, "add", group, ["carol"])
        assert await said(other, group, "with carol") == "ok"
        await done(alice, "mute", group, True, "dave")
        assert await said(dave, group, "x") == "muted"
        assert (await read(bob))[1:] == ["before", "removed alice bob"]
        assert await read(carol) == [
            "added alice carol team",
            "with carol",
            "muted alice dave True",
        ]


async def test_a_message_that_was_under_way_does_not_reach_who_was_removed(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-11.2-6: two has read the list, and stalls; the removal is answered; then two goes on.

    The list it goes by is as stale as can be. Bob's inbox itself refuses the message, and carol's,
    in whichever bucket, takes it.
    """
    async with (
        two_gateways(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("alice", "d2") as other,
        two.client("bob") as bob,
        two.client("carol") as carol,
    ):
        group = await created(alice, "bob", "carol")
        assert await said(other, group, "before") == "ok"
        chat = two.worker._services.sending._groups
        deliver, stalled = chat._inboxes.deliver_to, asyncio.Event()
        gone_on = asyncio.Event()

        def stall(*arguments: Any) -> asyncio.Future[int]:
            async def later() -> int:
                stalled.set()
                await gone_on.wait()
                return await deliver(*arguments)

            return asyncio.ensure_future(later())

        monkeypatch.setattr(chat._inboxes, "deliver_to", stall)
        sending = asyncio.create_task(said(other, group, "late"))
        await stalled.wait()
        monkeypatch.undo()
        await done(alice, "remove", group, ["bob"])
        gone_on.set()
        assert await sending == "ok"
        assert (await read(bob))[1:] == ["before", "removed alice bob"]
        assert "late" in await read(carol)
        # Bob comes back: what is sent from then on reaches him, on either gateway.
        await done(alice, "add", group, ["bob"])
        assert await said(other, group, "again") == "ok"
        assert await read(bob) == ["added alice bob team", "again"]


async def test_a_notice_whose_gateway_died_is_delivered_before_the_next_message(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-11.3-2 and G10: one changes the group and tells nobody; two does both in order, once."""
    async with two_gateways(settings, clock) as (one, two):
        async with one.client("alice") as alice:
            group = await created(alice, "bob")
            store = one.worker._services.sending._groups._groups
            monkeypatch.setattr(store, "_tell", lambda *_: None)
            await done(alice, "rename", group, "crew")
            await done(alice, "remove", group, ["bob"])
            await done(alice, "add", group, ["carol"])
        async with two.client("alice", "d2") as other, two.client("carol") as carol:
            assert await said(other, group, "hello") == "ok"
            assert await read(carol) == ["added alice carol crew", "hello"]
        monkeypatch.undo()
        async with one.client("bob") as bob, one.client("alice") as alice:
            assert (await read(bob))[1:] == ["renamed alice crew", "removed alice bob"]
            assert (await read(alice))[-4:] == [
                "renamed alice crew",
                "removed alice bob",
                "added alice carol crew",
                "hello",
            ]


async def test_the_sweeper_tells_what_a_dead_gateway_did_not(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-11.3-2: in a group that nobody sends to, too; and then it owes nothing."""
    async with two_gateways(settings, clock) as (one, two), one.client("alice") as alice:
        group = await created(alice, "bob")
        store = one.worker._services.sending._groups._groups
        monkeypatch.setattr(store, "_tell", lambda *_: None)
        await done(alice, "rename", group, "crew")
        clock.advance(14)
        await two.worker._sweeper.sweep()
        async with two.client("bob") as bob:
            assert len(await read(bob)) == 1
            clock.advance(2)
            await two.worker._sweeper.sweep()
            assert await read(bob) == ["renamed alice crew"]
        with redis.Redis.from_url(settings.redis_url) as client:
            assert not list(client.scan_iter("*grpnews*"))


async def test_names_and_messages_are_sealed(running: RunningWorker, store: Any) -> None:
    """G7, HP-11.1-4: nothing in the store says what the group is called."""
    async with running.client("alice") as alice:
        group = await created(alice, "bob", name="Zanzibar")
        await done(alice, "rename", group, "Timbuktu")
        await said(alice, group, "Samarkand")
    dump = b""
    for key in store.scan_iter("*"):
        dump += key + (store.dump(key) or b"")
        kind = store.type(key)
        if kind == b"hash":
            dump += b"".join(k + v for k, v in store.hgetall(key).items())
        elif kind == b"stream":
            dump += b"".join(fields[b"m"] for _, fields in store.xrange(key))
    assert group.encode() in dump
    for word in (b"Zanzibar", b"Timbuktu", b"Samarkand"):
        assert word not in dump


async def test_a_name_that_was_moved_to_another_group_does_not_open(
    running: RunningWorker, store: Any
) -> None:
    """G6: a seal binds a name to its group; the connection is kept."""
    async with running.client("alice") as alice:
        first, second = await created(alice, name="a"), await created(alice, name="b")
        keys = {each: next(iter(store.scan_iter(f"*grp:*:{each}"))) for each in (first, second)}
        store.hset(keys[second], "n", store.hget(keys[first], "n"))
        store.hincrby(keys[second], "v", 1)
        assert await refused(alice, "get", second) == "internal"
        await done(alice, "get", first)


async def test_deleting_an_app_purges_its_groups(running: RunningWorker, store: Any) -> None:
    """HP-11.1-5: state, notices and every user's list of groups; another app's stay."""
    async with running.client("alice") as alice:
        await created(alice, "bob", "carol")
        await created(alice, "bob", name="two")
    async with running.admin() as admin:
        await admin.delete_app(running.app.id)
    await running.worker._sweeper.sweep()
    left = [key for pattern in ("*grp*", "*due") for key in store.scan_iter(pattern)]
    assert left == []


async def test_a_burst_is_one_question_and_one_call_a_bucket(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The price of a message to 1,000 members: a question, and 256 calls at the most.

    And each gateway opens it once, though here 40 members have sessions.
    """
    users = [f"u{n:04}" for n in range(999)]
    async with contextlib.AsyncExitStack() as stack:
        alice = await stack.enter_async_context(running.client("alice"))
        group = await created(alice, *users[:100])
        for at in range(100, 999, 100):
            await done(alice, "add", group, users[at : at + 100])
        online = [await stack.enter_async_context(running.client(user)) for user in users[:40]]
        link, calls = running.worker._link, 0
        run = link.run

        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            return run(*arguments, **options)

        opened = 0
        sealer = running.worker._records._sealer
        open_ = sealer.open

        def counted_open(*arguments: Any) -> bytes:
            nonlocal opened
            opened += 1
            return open_(*arguments)

        monkeypatch.setattr(link, "run", counted)
        monkeypatch.setattr(sealer, "open", counted_open)
        assert await said(alice, group, "hello") == "ok"
        assert calls <= 1 + 256
        for client in online:
            while (await client.until(frames.Push)).message.body != b"hello":
                pass
        # Catching up opened notices; of the message itself, once.
        assert opened == 1


async def test_a_record_of_a_group_opens_in_its_own_app_only(
    running: RunningWorker, clock: FakeClock
) -> None:
    """G6: any inbox of the app, as members come and go; not with another app's name or id."""
    records = running.worker._records
    message = frames.Message(bytes(16), "alice", "g:" + "0" * 32, clock.ms, "text", b"x")
    record = records.make(running.app, message, message.to)
    assert records.open(running.app, "anyone", record) == codec.encode(message)
    other = create_app("other", "sg", "pro", "global", clock.ms)
    with pytest.raises(Tampered):
        records.open(other, "anyone", record)
    changed = record[:-1] + bytes([record[-1] ^ 1])
    with pytest.raises(Tampered):
        records.open(running.app, "anyone", changed)
    elsewhere = record.replace(b"g:" + b"0" * 32, b"g:" + b"1" * 32)
    with pytest.raises(Tampered):
        records.open(running.app, "anyone", elsewhere)
