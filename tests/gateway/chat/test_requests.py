"""Mirrors gateway/chat/requests.py: what each method of `chat` has in common, for each principal.

Methods are found by looking, also in what can be reached through others: so one that is added
without a limit, or without a line in the table of who may ask, is found here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Final

import pytest

from gateway.chat.chat import Chat
from gateway.chat.principal import AppItself, User
from gateway.chat.refused import Refused
from gateway.config import Settings
from gateway.store.readers import Reader
from tests.gateway.chat.doors import Door, a_door, code_of, later
from tests.harness import FakeClock
from tests.inside import Inside

KINDS: Final = ("app", "user", "session")

OF_ALL: Final = {
    "groups.create", "groups.rename", "groups.delete", "groups.add", "groups.remove",
    "groups.set_role", "groups.mute", "groups.get", "rooms.set", "presence.get", "history.page",
    "recalls.recall", "recalls.edit", "receipts.reach",
}  # fmt: skip
OF_USERS: Final = {
    "messages.send", "signals.signal", "groups.join", "groups.leave", "groups.list",
    "blocks.block", "blocks.unblock", "blocks.list", "history.forget",
    "receipts.mark", "receipts.unread", "conversations.page",
}  # fmt: skip
OF_SESSIONS: Final = {
    "rooms.join", "rooms.leave", "presence.set", "presence.watch", "presence.unwatch",
}  # fmt: skip


def may(name: str, kind: str) -> bool:
    """Whether a principal of this kind may ask for this at all."""
    return name in OF_ALL or (
        kind != "app" and (name in OF_USERS or (name in OF_SESSIONS and kind == "session"))
    )


@pytest.fixture
async def door(settings: Settings, clock: FakeClock) -> AsyncIterator[Door]:
    """A door to a gateway with an app of tier free."""
    async with a_door(settings, clock, "free") as one:
        yield one


def reachable(part: object, name: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Everything public that can be called, in `part` and in what it shows, by its name."""
    assert type(part).__module__.startswith("gateway.chat."), f"{name} is nothing of chat's"
    for each in dir(part):
        if each.startswith("_"):
            continue
        value, called = getattr(part, each), f"{name}.{each}".lstrip(".")
        if callable(value):
            yield called, value
        else:
            yield from reachable(value, called)


async def principal(door: Door, kind: str, name: str) -> AppItself | User:
    """The app, or the user `name`, who has a session or not."""
    if kind == "app":
        return await door.app()
    if kind == "user":
        return await door.user(name)
    await door.app()  # so the app is known, as it is once a token was looked at
    reader = Reader(door.running.app.id, name, "d1", "0" * 24)
    one = door.principals.connecting(door.running.app, reader)
    door.open.callback(one.close)
    await door.principals.blockers.read(one.blockers)
    return one


def asked(method: Callable[..., Any], who: object) -> Any:
    """Call `method` with a text or number that is good for nothing, for each value it needs."""
    _, *required = [
        each
        for each in inspect.signature(method).parameters.values()
        if each.default is inspect.Parameter.empty
    ]
    values = {each: 0 if each.annotation == "int" else "?" for each in required}
    plain = [value for each, value in values.items() if each.kind is not each.KEYWORD_ONLY]
    named = {each.name: v for each, v in values.items() if each.kind is each.KEYWORD_ONLY}
    return method(who, *plain, **named)


def test_the_table_names_each_method(door: Door) -> None:
    """HP-17.1-1: what a door can reach through `chat` is what the table says, and no more."""
    names = [name for name, _ in reachable(door.chat)]
    assert sorted(names) == sorted(OF_ALL | OF_USERS | OF_SESSIONS)
    assert not any(callable(getattr(door.chat, each.name)) for each in dataclasses.fields(Chat))


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_can_be_asked_for_without_a_token(door: Door, kind: str) -> None:
    """HP-17.1-1: a principal that has spent its tokens is refused by each method there is, and one
    of the wrong kind by each that is not for it, before the method looks at anything else."""
    who = await principal(door, kind, "alice")
    spend(who)
    for name, method in reachable(door.chat):
        expected = "rate_limited" if may(name, kind) else "not_allowed"
        assert (name, await code_of(later(partial(asked, method, who)))) == (name, expected)


def spend(who: AppItself | User) -> None:
    """Take all tokens that are left to `who`."""
    with pytest.raises(Refused):
        while True:
            who.allowance.pay(who.app.tier, 1)


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_each_request_takes_tokens(door: Door, kind: str) -> None:
    """HP-17.1-1: whatever comes of it; and one that is refused for its author's kind takes none."""
    limits, tier = Inside(door.running.worker).limits, door.running.app.tier
    for number, (name, method) in enumerate(reachable(door.chat)):
        who = await principal(door, kind, f"user-{number}")
        bucket = limits.hold(door.running.app.id, f"user-{number}", tier.user)
        with contextlib.suppress(Exception):  # of the values, which are none
            answer = asked(method, who)
            await (answer[1] if isinstance(answer, tuple) else answer)
        assert (bucket.taken > 0) == may(name, kind), name
        limits.release((door.running.app.id, f"user-{number}"))


async def answers(door: Door, who: AppItself | User, peer: str, group: str) -> dict[str, str]:
    """What comes of each method, with values that are good for alice and for the app."""
    chat = door.chat
    alice, bob = await door.user("alice"), await door.user("bob")
    _, first = await door.say(alice, "bob", "hello", f"first for {who}")
    _, second = await door.say(alice, "bob", "hullo", f"second for {who}")

    async def send() -> None:
        _, stored = chat.messages.send(who, "c", "bob", "text", b"hi")  # type: ignore[arg-type]
        await stored

    one: Any = who  # the types say who may; here it is asked all the same
    calls: dict[str, Callable[[], Any]] = {
        "messages.send": send,
        "signals.signal": lambda: chat.signals.signal(one, "bob", "typing", b""),
        "groups.create": lambda: chat.groups.create(one, "c9", "crew", ["alice"]),
        "groups.get": lambda: chat.groups.get(one, group),
        "groups.list": lambda: chat.groups.list(one),
        "groups.rename": lambda: chat.groups.rename(one, group, "new"),
        "groups.add": lambda: chat.groups.add(one, group, ["carol"]),
        "groups.mute": lambda: chat.groups.mute(one, group, "carol", True),
        "groups.set_role": lambda: chat.groups.set_role(one, group, "carol", "admin"),
        "groups.remove": lambda: chat.groups.remove(one, group, ["carol"]),
        "groups.join": lambda: chat.groups.join(one, group),
        "groups.leave": lambda: chat.groups.leave(one, group),
        "groups.delete": lambda: chat.groups.delete(one, group),
        "rooms.set": lambda: chat.rooms.set(one, "stage", "admins", ["bob"]),
        "rooms.join": lambda: chat.rooms.join(one, "stage", last=0),
        "rooms.leave": lambda: chat.rooms.leave(one, "stage"),
        "blocks.block": lambda: chat.blocks.block(one, "eve"),
        "blocks.list": lambda: chat.blocks.list(one),
        "blocks.unblock": lambda: chat.blocks.unblock(one, "eve"),
        "presence.set": lambda: chat.presence.set(one, "away", None),
        "presence.watch": lambda: chat.presence.watch(one, ["bob"], 60),
        "presence.unwatch": lambda: chat.presence.unwatch(one, ["bob"]),
        "presence.get": lambda: chat.presence.get(one, ["bob"]),
        "conversations.page": lambda: chat.conversations.page(one, 5),
        "history.page": lambda: chat.history.page(one, peer, 5),
        "history.forget": lambda: chat.history.forget(one, peer, 1),
        "receipts.mark": lambda: chat.receipts.mark(one, peer, first, 0),
        "receipts.reach": lambda: chat.receipts.reach(one, peer, first),
        "receipts.unread": lambda: chat.receipts.unread(one),
        "recalls.edit": lambda: chat.recalls.edit(one, peer, second, b"hallo"),
        "recalls.recall": lambda: chat.recalls.recall(one, peer, first),
    }
    assert calls.keys() == OF_ALL | OF_USERS | OF_SESSIONS
    found = {name: await code_of(later(call)) for name, call in calls.items()}
    assert (await chat.presence.get(bob, ["bob"]))[0].state == "offline"
    return found


async def test_each_kind_of_principal_may_do_what_it_may(door: Door) -> None:
    """HP-11, HP-12: a user, and the app itself, which may do what an owner or a creator may. What
    needs a session is refused to both."""
    alice, app = await door.user("alice"), await door.app()
    everything = OF_ALL | OF_USERS | OF_SESSIONS
    group = await door.chat.groups.create(alice, "c1", "team", ["bob"])
    by_user = await answers(door, alice, "bob", group)
    # An owner stays, so alice's own leaving is refused by that rule.
    expected = {name: "ok" if may(name, "user") else "not_allowed" for name in everything}
    assert by_user == expected | {"groups.leave": "owner_stays"}
    group = await door.chat.groups.create(alice, "c2", "team", ["bob"])
    by_app = await answers(door, app, "d:alice:bob", group)
    assert by_app == {name: "ok" if may(name, "app") else "not_allowed" for name in everything}


async def test_a_stranger_to_principals_gets_nothing(door: Door) -> None:
    """G8: what only looks like a principal is no principal."""

    @dataclasses.dataclass
    class Forged:
        app: object
        allowance: object
        app_id: str
        blockers: frozenset[str] = frozenset()
        id: str = "bob"
        device: str = "d1"
        session: str = "0" * 24
        ephemeral: bool = False

    alice = await door.user("alice")
    forged: Any = Forged(alice.app, alice.allowance, alice.app_id)
    for name, method in reachable(door.chat):
        assert (name, await code_of(later(partial(asked, method, forged)))) == (
            name,
            "not_allowed",
        )
