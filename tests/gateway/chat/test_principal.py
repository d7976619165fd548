"""Mirrors gateway/chat/principal.py: who asks, whichever door it is and however long it asks."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from homeport import codes

from gateway.apps.tiers import TIERS
from gateway.chat.blockers import Blockers, HeardBlockers
from gateway.chat.principal import AppItself, SessionUser, User
from gateway.chat.refused import Refused
from gateway.config import Settings
from gateway.store.readers import Reader
from tests.gateway.chat.doors import Door, a_door, code_of, later
from tests.harness import FakeClock, until
from tests.inside import Inside


@pytest.fixture
async def door(settings: Settings, clock: FakeClock) -> AsyncIterator[Door]:
    """A door to a gateway with an app of tier free."""
    async with a_door(settings, clock, "free") as one:
        yield one


async def test_nobody_else_makes_a_principal(door: Door) -> None:
    """G8, HP-17.2-1: a door that changed a field of a principal would speak in another's name, by
    another's blocks or at another tier's rate."""
    alice, app = await door.user("alice"), await door.app()
    fields: dict[str, Any] = {"id": "bob", "blockers": Blockers(frozenset()), "app_id": "0" * 32}
    for name, value in fields.items():
        with pytest.raises((TypeError, ValueError)):
            dataclasses.replace(alice, **{name: value})
        with pytest.raises(AttributeError):
            setattr(alice, name, value)
    with pytest.raises((AttributeError, TypeError)):
        alice.app = app.app  # type: ignore[misc]
    made: Any
    for made in (None, object(), alice):
        with pytest.raises(TypeError):
            User("0" * 32, alice.allowance, made, made, "bob", Blockers(frozenset()))
        with pytest.raises(TypeError):
            AppItself("0" * 32, alice.allowance, made, made)
        with pytest.raises(TypeError):
            heard, cache = HeardBlockers("0" * 32, "bob"), door.principals.blockers
            SessionUser("0" * 32, alice.allowance, made, made, "bob", heard, "d", "s", False, cache)
    assert "allowance" not in repr(alice)


async def test_a_principal_that_stays_sees_what_its_app_is_now(door: Door) -> None:
    """HP-3.1, HP-7.1-5, HP-17.1-1: with nothing done by its door. A key of an app lives for months;
    it asked by the tier and the settings of the day on which it first came."""
    running = door.running
    alice, app = await door.user("alice"), await door.app()
    big = b"x" * (TIERS["free"].max_body + 1)
    send = door.chat.messages.send
    assert await code_of(later(lambda: send(alice, "c1", "bob", "text", big)[1])) == (
        "body_too_large"
    )
    _, seq = await door.say(alice, "bob", "hello")
    door.clock.advance(running.app.recall_s)
    assert await code_of(door.chat.recalls.recall(alice, "bob", seq)) == "recall_too_late"
    longer = running.app.recall_s * 2
    async with running.admin() as admin:
        await admin.apps.change(running.app.id, "tier", "pro", door.clock.ms)
        await admin.apps.change(running.app.id, "recall_s", longer, door.clock.ms)
    await until(lambda: alice.app.recall_s == longer)
    assert app.app.tier_name == "pro"
    assert await code_of(later(lambda: send(alice, "c2", "bob", "text", big)[1])) == "ok"
    assert await code_of(door.chat.recalls.recall(alice, "bob", seq)) == "ok"

    async with running.admin() as admin:
        await admin.apps.delete(running.app.id)
    directory = Inside(running.worker).directory
    await until(lambda: not _knows(directory, running.app.id))
    for answer in (
        later(lambda: send(alice, "c3", "bob", "text", b"")[1]),
        later(lambda: door.chat.signals.signal(alice, "bob", "typing", b"")),
        later(lambda: door.chat.groups.list(alice)),
        later(lambda: door.chat.history.page(app, "d:alice:bob", 5)),
        later(lambda: door.chat.rooms.set(app, "hall", "everyone", [])),
        door.user("alice"),
        door.app(),
    ):
        assert await code_of(answer) == "unknown_app"


def _knows(directory: Any, app_id: str) -> bool:
    try:
        directory.known(app_id)
    except Exception:  # noqa: BLE001 - it says what is wrong
        return False
    return True


async def test_an_unknown_app_has_no_principals(door: Door) -> None:
    """HP-3.4: at each door."""
    unknown = "02" + "0" * 30
    for making in (door.principals.user(unknown, "alice"), door.principals.app(unknown)):
        with pytest.raises(Refused) as refused:
            async with making:
                pass
        assert refused.value.code is codes.UNKNOWN_APP


async def test_to_come_again_brings_no_tokens(door: Door) -> None:
    """HP-17.1-1, HP-17.2-1: a door that makes a principal for each request, as one for REST does,
    gives nobody a full bucket each time."""
    principals, app_id = door.principals, door.running.app.id
    async with principals.user(app_id, "alice") as alice:
        for number in range(TIERS["free"].user.burst):
            door.chat.messages.send(alice, f"c{number}", f"u{number}", "text", b"")
    for _ in range(3):
        async with principals.user(app_id, "alice") as alice:
            with pytest.raises(Refused) as refused:
                door.chat.messages.send(alice, "more", "bob", "text", b"")
            assert refused.value.details == {"limit": "user"}
    async with principals.app(app_id) as app:
        with pytest.raises(Refused):
            while True:
                app.allowance.pay(app.app.tier, 1)
    async with principals.app(app_id) as app:
        create = partial(door.chat.groups.create, app, "c1", "team", ["bob"])
        assert await code_of(later(create)) == "rate_limited"


async def test_a_principal_ends_with_its_door(door: Door) -> None:
    """HP-17.1-1: what its door goes on to ask is a fault of the door's, and takes nothing from the
    others' buckets; to close twice gives back once."""
    async with door.principals.user(door.running.app.id, "alice") as gone:
        pass
    alice = await door.user("alice")
    gone.allowance.close()
    for asked in (
        later(lambda: door.say(gone, "bob", "x")),
        later(lambda: door.chat.signals.signal(gone, "bob", "typing", b"")),
        later(lambda: door.chat.groups.list(gone)),
    ):
        with pytest.raises(RuntimeError):
            await asked
    assert await code_of(door.say(alice, "bob", "x")) == "ok"


async def test_nothing_passes_before_the_blockers_are_known(door: Door) -> None:
    """HP-18.2-1: a session's principal is there before attaching has read who blocks its user."""
    bob = await door.user("bob")
    await door.chat.blocks.block(bob, "alice")
    reader = Reader(door.running.app.id, "alice", "d1", "0" * 24)
    alice = door.principals.connecting(door.running.app, reader)
    door.open.callback(alice.close)
    say, signal, get = door.say, door.chat.signals.signal, door.chat.presence.get
    for _ in range(2):
        assert await code_of(later(lambda: say(alice, "bob", "x"))) == "unavailable"
        assert await code_of(later(lambda: signal(alice, "bob", "typing", b""))) == "unavailable"
        assert await code_of(get(alice, ["bob"])) == "unavailable"
        alice.blockers.failed()
    await door.principals.blockers.read(alice.blockers)
    assert await code_of(later(lambda: say(alice, "bob", "x"))) == "blocked"
    assert await code_of(later(lambda: say(alice, "carol", "x"))) == "ok"
