"""Mirrors gateway/chat/chat.py: a door without sessions, on a real store.

Nobody is connected here: each test asks `chat` itself, with plain values, as another door than a
session would. What a door may not do is refused by the same rules and with the same codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from homeport import codes
from homeport.frames import Options

from gateway.apps.tiers import TIERS, Rate
from gateway.chat.refused import Refused
from gateway.config import Settings
from gateway.store.rooms import RoomStore, Start, Top
from tests.gateway.chat.doors import Door, a_door, code_of, later
from tests.harness import FakeClock, until
from tests.inside import Inside


@pytest.fixture
async def door(settings: Settings, clock: FakeClock) -> AsyncIterator[Door]:
    """A door to a gateway with an app of tier free."""
    async with a_door(settings, clock, "free") as one:
        yield one


async def test_a_message_needs_no_session(door: Door) -> None:
    """G1 and G2: stored once, whichever door repeats it, and read at the other end."""
    alice, bob = await door.user("alice"), await door.user("bob")
    first = await door.say(alice, "bob", "hello", "c1")
    assert await door.say(alice, "bob", "hello again", "c1") == first
    await door.say(bob, "alice", "hi")
    assert await door.texts(bob, "alice") == await door.texts(alice, "bob") == ["hello", "hi"]


async def test_what_is_sent_is_held_to_the_same_rules(door: Door) -> None:
    """HP-3.5-2, HP-7.1-5, HP-11.3-4: also the app's own door may not forge the server's kinds."""
    alice = await door.user("alice")
    send = door.chat.messages.send
    big = b"x" * (TIERS["free"].max_body + 1)
    ttl_of_nothing = Options(online_only=True, ttl=5)
    cases: tuple[tuple[tuple[str, str, str, bytes], dict[str, Any], codes.ErrorCode], ...] = (
        (("c", "a b", "text", b""), {}, codes.UNKNOWN_RECIPIENT),
        (("c", "g:team", "text", b""), {}, codes.UNKNOWN_RECIPIENT),
        (("c", "bob", "homeport.group", b""), {}, codes.INVALID_FIELD),
        (("c", "bob", "text", big), {}, codes.BODY_TOO_LARGE),
        (("c", "bob", "text", b""), {"options": ttl_of_nothing}, codes.INVALID_FIELD),
        (("c", "bob", "text", b""), {"priority": 0}, codes.UNKNOWN_RECIPIENT),
        (("c", "r:hall", "text", b""), {"options": Options(ttl=5)}, codes.INVALID_FIELD),
    )
    for arguments, options, code in cases:
        with pytest.raises(Refused) as refused:
            send(alice, *arguments, **options)
        assert refused.value.code is code


async def test_who_is_blocked_is_blocked_at_each_door(door: Door) -> None:
    """HP-18.2-1, HP-18.2-6, HP-20.4: a principal that asks anew knows what the store knows."""
    alice, bob = await door.user("alice"), await door.user("bob")
    async with door.running.client("alice"):
        pass  # so that there is something to hide: when she was here
    await until(lambda: not list(Inside(door.running.worker).sessions()))
    (seen,) = await door.chat.presence.get(bob, ["alice"])
    assert seen.since > 0
    _, seq = await door.say(bob, "alice", "before")
    await door.chat.blocks.block(alice, "bob")
    assert await door.chat.blocks.list(alice) == ("bob",)
    again = await door.user("bob")
    assert await code_of(later(lambda: door.say(again, "alice", "x"))) == "blocked"
    signal = door.chat.signals.signal
    assert await code_of(later(lambda: signal(again, "alice", "typing", b""))) == "blocked"
    assert await code_of(door.chat.recalls.edit(again, "alice", seq, b"new")) == "blocked"
    (seen,) = await door.chat.presence.get(again, ["alice"])
    assert (seen.state, seen.status, seen.since) == ("offline", "", 0)
    assert await code_of(door.say(alice, "bob", "mine still goes")) == "ok"
    await door.chat.blocks.unblock(alice, "bob")
    assert await code_of(door.say(await door.user("bob"), "alice", "after")) == "ok"
    assert await door.texts(alice, "bob") == ["before", "mine still goes", "after"]


async def test_sends_take_from_the_users_and_the_apps_bucket(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.1-1, HP-17.2-1: a door more gives no tokens more, and none of another user's."""
    async with a_door(settings, clock, "free") as door:
        alice, other = await door.user("alice"), await door.user("alice")
        burst = TIERS["free"].user.burst
        for number in range(burst):
            each = alice if number % 2 else other
            door.chat.messages.send(each, f"c{number}", f"u{number}", "text", b"")
        for each in (alice, other, await door.user("alice")):
            with pytest.raises(Refused) as refused:
                door.chat.messages.send(each, "more", "bob", "text", b"")
            assert refused.value.code is codes.RATE_LIMITED
            assert refused.value.details == {"limit": "user"}
        carol = await door.user("carol")
        assert await code_of(door.say(carol, "bob", "mine are left")) == "ok"
        clock.advance(1)
        assert await code_of(door.say(alice, "bob", "later")) == "ok"


async def test_sends_take_from_the_apps_bucket(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-17.1-1: of all the app's users together, at this door too."""
    small = dataclasses.replace(TIERS["free"], app=Rate(10, 30))
    monkeypatch.setitem(TIERS, "free", small)
    async with a_door(settings, clock, "free") as door:
        alice, bob = await door.user("alice"), await door.user("bob")
        for number in range(30):
            each = alice if number % 2 else bob
            door.chat.messages.send(each, f"c{number}", "carol", "text", b"")
        for each in (alice, bob):
            with pytest.raises(Refused) as refused:
                door.chat.messages.send(each, "more", "carol", "text", b"")
            assert refused.value.details == {"limit": "app"}


async def test_groups_are_asked_for_by_plain_values(door: Door) -> None:
    """HP-11.1-1, HP-11.4: made, changed, read and sent to; who may not is told so."""
    alice, bob = await door.user("alice"), await door.user("bob")
    groups = door.chat.groups
    group = await groups.create(alice, "c1", "team", ["bob", "carol"])
    assert await groups.create(alice, "c1", "team", ["bob", "carol"]) == group
    assert await code_of(groups.add(bob, group, ["dan"])) == "not_allowed"
    await groups.set_role(alice, group, "bob", "admin")
    await groups.add(bob, group, ["dan"])
    await groups.rename(bob, group, "crew")
    await groups.mute(alice, group, "dan", True)
    await groups.remove(alice, group, ["carol"])
    info = await groups.get(bob, group)
    assert (info.name, info.role, info.size) == ("crew", "admin", 3)
    assert [each.id for each in (await groups.list(bob)).groups] == [group]
    assert await code_of(door.say(await door.user("dan"), f"g:{group}", "x")) == "muted"
    assert await code_of(door.say(await door.user("eve"), f"g:{group}", "x")) == "not_a_member"
    await door.say(bob, f"g:{group}", "hello all")
    assert await door.texts(alice, f"g:{group}") == ["hello all"]
    assert await code_of(door.chat.history.page(await door.user("eve"), f"g:{group}", 5)) == (
        "not_a_member"
    )
    await groups.leave(bob, group)
    await groups.delete(alice, group)
    assert await code_of(groups.get(alice, group)) == "unknown_group"


async def test_a_room_takes_signals_of_those_with_a_seat(door: Door) -> None:
    """HP-12: the seat is the user's, whichever device or door took it; without one, only the app
    sends in a user's name, and only messages."""
    alice, eve = await door.user("alice"), await door.user("eve")
    signal = door.chat.signals.signal
    assert await code_of(door.say(alice, "r:hall", "x")) == "ok"
    assert await code_of(signal(alice, "r:hall", "wave", b"")) == "not_in_room"
    inside, app = Inside(door.running.worker), door.running.app
    await RoomStore(inside.link, inside.keys).join(
        app, "hall", "alice:d1", Start(0), Top(), door.clock.ms
    )
    assert await code_of(door.say(alice, "r:hall", "hello")) == "ok"
    assert await code_of(signal(alice, "r:hall", "wave", b"")) == "ok"
    await door.chat.rooms.set(eve, "stage", "admins", [])
    assert await code_of(door.chat.rooms.set(alice, "stage", "everyone", [])) == "not_room_creator"
    assert await code_of(door.chat.rooms.set(alice, "a b", "everyone", [])) == "invalid_field"


async def test_messages_are_recalled_and_edited(door: Door) -> None:
    """HP-22: by who sent them, in time."""
    alice, bob = await door.user("alice"), await door.user("bob")
    _, seq = await door.say(alice, "bob", "helo")
    recalls = door.chat.recalls
    assert await code_of(recalls.edit(bob, "alice", seq, b"x")) == "not_yours"
    assert await code_of(recalls.recall(bob, "alice", seq)) == "not_yours"
    await recalls.edit(alice, "bob", seq, b"hello")
    assert await door.texts(bob, "alice") == ["hello"]
    door.clock.advance(door.running.app.recall_s)
    assert await code_of(recalls.recall(alice, "bob", seq)) == "recall_too_late"


async def test_receipts_and_unread_counts(door: Door) -> None:
    """HP-15: who got and read what, and what is unread."""
    alice, bob = await door.user("alice"), await door.user("bob")
    _, seq = await door.say(alice, "bob", "hello")
    assert (await door.chat.receipts.unread(bob)).rows == [("alice", 1)]
    await door.chat.receipts.mark(bob, "alice", 0, seq)
    assert (await door.chat.receipts.unread(bob)).rows == []
    reach = await door.chat.receipts.reach(alice, "bob", seq)
    assert (reach.receipts, reach.reached) == ([("bob", seq, seq)], (1, 1, 1))


async def test_while_the_store_is_away_all_are_refused_alike(door: Door) -> None:
    """HP-4.6-1: a door catches `Refused` alone, and what it waits for in a send."""
    alice = await door.user("alice")
    with Inside(door.running.worker).cut_off():
        for asked in (
            door.chat.groups.list(alice),
            door.chat.blocks.list(alice),
            door.chat.receipts.unread(alice),
            door.chat.presence.get(alice, ["bob"]),
            door.chat.history.page(alice, "bob", 5),
            door.chat.signals.signal(alice, "bob", "typing", b""),
        ):
            with pytest.raises(Refused) as refused:
                await asked
            assert refused.value.code is codes.UNAVAILABLE
        assert await code_of(door.say(alice, "bob", "x")) == "unavailable"
        with pytest.raises(Refused) as refused:
            await door.user("bob")
        assert refused.value.code is codes.UNAVAILABLE
    assert await code_of(door.say(alice, "bob", "x")) == "ok"


# -- the app itself --------------------------------------------------------------------------------


async def test_the_app_does_in_a_group_what_its_owner_may(door: Door) -> None:
    """It is no member. It may not do what the owner may not: mute or remove the owner, or leave
    the group without one."""
    app, alice = await door.app(), await door.user("alice")
    groups = door.chat.groups
    group = await groups.create(app, "c1", "team", ["alice", "bob"])
    assert await groups.create(app, "c1", "team", ["alice", "bob"]) == group
    assert (await groups.get(alice, group)).role == "owner"
    assert await code_of(groups.create(app, "c2", "none", [])) == "invalid_field"
    await groups.rename(app, group, "crew")
    await groups.add(app, group, ["carol"])
    await groups.mute(app, group, "carol", True)
    await groups.mute(app, group, None, True)
    await groups.remove(app, group, ["carol"])
    assert await code_of(groups.remove(app, group, ["alice"])) == "not_allowed"
    assert await code_of(groups.mute(app, group, "alice", True)) == "not_allowed"
    assert await code_of(groups.set_role(app, group, "alice", "member")) == "owner_stays"
    await groups.set_role(app, group, "bob", "owner")
    info = await groups.get(app, group)
    assert (info.name, info.muted, info.role) == ("crew", True, "owner")
    assert [(each.user, each.role) for each in info.members] == [
        ("alice", "admin"),
        ("bob", "owner"),
    ]
    await groups.delete(app, group)
    await groups.delete(app, group)
    assert await code_of(groups.rename(app, group, "x")) == "unknown_group"
    assert await code_of(groups.delete(alice, group)) == "unknown_group"


async def test_the_app_takes_back_what_its_users_said(door: Door) -> None:
    """In any conversation, named from neither end, and however late: the time is the app's own rule
    for its users. It edits nothing: that would be to speak in a user's name."""
    app, alice, bob = await door.app(), await door.user("alice"), await door.user("bob")
    _, seq = await door.say(alice, "bob", "rude")
    group = await door.chat.groups.create(alice, "c1", "team", ["bob"])
    _, stored = door.chat.messages.send(
        bob, "c9", f"g:{group}", "text", b"rude too", options=Options(history=False)
    )
    quiet = (await stored).seq
    door.clock.advance(door.running.app.recall_s)
    recall = door.chat.recalls.recall
    for peer in ("bob", "d:bob:alice", "d:alice", "d:", "r:hall", "d:alice:bob:carol"):
        assert await code_of(recall(app, peer, seq)) == "unknown_recipient"
    assert await door.texts(app, "d:alice:bob") == ["rude"]
    await recall(app, "d:alice:bob", seq)
    page = await door.chat.history.page(bob, "alice", 5)
    assert page.entries[-1].message.kind == "homeport.recall"
    assert b"rude" not in page.entries[-1].message.body
    await recall(app, f"g:{group}", quiet)
    assert await code_of(recall(app, "d:alice:carol", seq)) == "unknown_message"


async def test_the_app_spends_from_its_own_bucket(door: Door) -> None:
    """HP-17.1: the one that all its users' sends take from, too."""
    app = await door.app()
    with pytest.raises(Refused) as refused:
        while True:
            app.allowance.pay(app.app.tier, 1)
    assert refused.value.details == {"limit": "app"}
    alice = await door.user("alice")
    assert await code_of(later(lambda: door.say(alice, "bob", "x"))) == "rate_limited"
