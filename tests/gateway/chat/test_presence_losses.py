"""Presence where something is lost: clients that are slow, a store or a gateway that is away."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from homeport import codes
from homeport.frames import (
    PresenceGet,
    PresenceSet,
    PresenceSubscribe,
)

from gateway.config import Settings
from gateway.session.session import Session
from gateway.store.presence import RENEW_S
from tests.gateway.chat.watching import ask, nothing_for, states, told
from tests.gateway.replicas import two_workers
from tests.harness import (
    FakeClock,
    RunningWorker,
    until,
)
from tests.inside import nothing_to_read


async def test_who_does_not_keep_up_is_told_the_last_state(running: RunningWorker) -> None:
    """HP-20.2-8, G9: what waits for a slow client is a state, not a list of changes."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await states(alice, PresenceSubscribe, ("bob",), 600)
        (session,) = running.inside.sessions("alice")
        on_room = Session.on_room
        slow = True

        def keeps_up(self: Any, payload: Any, priority: int) -> bool:
            return not (slow and self is session) and on_room(self, payload, priority)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "on_room", keeps_up)
            for status in "12345":
                await ask(bob, PresenceSet, "online", status)
                await nothing_for(alice, running, 10)
            slow = False
            assert (await told(alice, running)).status == "5"
        await nothing_for(alice, running, 20)


async def test_while_the_store_is_away(running: RunningWorker) -> None:
    """HP-20.3-2: unavailable; a change that nobody heard is told after a while."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await states(alice, PresenceSubscribe, ("bob",), 600)
        with running.inside.cut_off():
            for kind, fields in (
                (PresenceSet, ("away",)),
                (PresenceSubscribe, (("carol",), 60)),
                (PresenceGet, (("bob",),)),
            ):
                assert await alice.refused(kind, *fields) is codes.UNAVAILABLE
            running.pass_time(31)  # the reading that comes now fails
            await until(lambda: nothing_to_read(running.inside.presence))
        with running.inside.deaf():
            await ask(bob, PresenceSet, "away")
        assert running.clock is not None
        before = running.clock.now
        assert (await told(alice, running)).state == "away"
        assert running.clock.now - before <= 30


async def test_after_a_pubsub_gap_all_is_read_anew(running: RunningWorker, store: Any) -> None:
    """HP-20.3-2: what happened while nobody listened is told at once when the channel is back."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await states(alice, PresenceSubscribe, ("bob",), 600)
        with running.inside.deaf() as missed:
            await ask(bob, PresenceSet, "away")
            # It comes on another connection than the answer: CI once saw it come later.
            await until(lambda: missed)
        await nothing_for(alice, running, 1)
        assert running.clock is not None
        before, times = running.clock.now, running.inside.reconnects
        store.client_kill_filter(_type="pubsub")
        await until(lambda: running.inside.reconnects > times)
        assert (await told(alice, running)).state == "away"
        assert running.clock.now - before < 5


async def test_the_users_of_a_gateway_that_died(
    settings: Settings, clock: FakeClock, store: Any
) -> None:
    """HP-20.3-1: its lease ends and its users are offline, but for who is elsewhere by then."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        contextlib.AsyncExitStack() as stack,
    ):
        for user in ("bob", "carol"):
            await stack.enter_async_context(two.client(user))
        await states(alice, PresenceSubscribe, ("bob", "carol"), 600)
        # Killed: nothing it would say reaches Redis any more.
        stack.enter_context(two.inside.cut_off())
        for _ in range(5):
            clock.advance(RENEW_S)
            await one.inside.renew_presence()
        await stack.enter_async_context(one.client("carol"))
        store.zrem("hp:sg:gateways", two.worker.gateway)  # as its end would
        await one.inside.renew_presence()
        assert (await told(alice, one)).user == "bob"
        await nothing_for(alice, one, 20)
