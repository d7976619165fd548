"""Mirrors protocol/homeport/client/presence.py: with a scripted server and with a real one."""

from __future__ import annotations

import asyncio

import pytest
from homeport import Client, Presence, RequestRefused, frames
from homeport.frames import (
    PresenceGet,
    PresenceList,
    PresenceSet,
    PresenceSubscribe,
    UserPresence,
)

from gateway.config import Settings
from tests.harness import running_worker
from tests.protocol.client.conftest import Events, Setting
from tests.protocol.client.server import Peer, ok


async def subscribed(peer: Peer, *states: str, status: str = "") -> PresenceSubscribe:
    """Answer a presencesubscribe, for its users in their order."""
    asked = await peer.expect(PresenceSubscribe)
    told = (UserPresence(*each, status, 0) for each in zip(asked.users, states, strict=True))
    await peer.done(asked, PresenceList(tuple(told)))
    return asked


async def test_watching_a_user_of_a_real_gateway(settings: Settings) -> None:
    """HP-20.2-1, HP-20.2-2: every method, and the event of a change."""
    events = Events()
    async with (
        running_worker(settings) as running,
        Client(
            running.url, device="d1", token=running.token("alice"), on_event=events.put
        ) as alice,
    ):
        nobody = Presence("bob", "offline", "", 0)
        assert await alice.presence(["bob", "bob"]) == {"bob": nobody}
        assert await alice.watch_presence(["bob"], expires=60) == {"bob": nobody}
        async with Client(running.url, device="d1", token=running.token("bob")) as bob:
            assert await events.next(Presence) == Presence("bob", "online", "", 0)
            await bob.set_presence("away", status="lunch")
            assert await events.next(Presence) == Presence("bob", "away", "lunch", 0)
            await alice.unwatch_presence(["bob"])
            await bob.set_presence("online")
            found = await alice.presence(["bob"])
            assert found == {"bob": Presence("bob", "online", "lunch", 0)}
        many = [f"u{number}" for number in range(501)]
        assert len(await alice.presence(many)) == 501
        with pytest.raises(RequestRefused) as caught:
            await alice.watch_presence(many)
        assert caught.value.name == "too_many_subscriptions"
        with pytest.raises(RequestRefused):
            await alice.set_presence("online", status="x" * 129)


async def test_a_request_names_a_hundred_users(setting: Setting) -> None:
    """HP-20.2-6: the rest goes in further requests."""
    async with setting.live() as (client, peer):
        users = [f"u{number}" for number in range(150)]
        watching = asyncio.create_task(client.watch_presence(users, expires=90))
        first = await subscribed(peer, *["online"] * 100)
        second = await subscribed(peer, *["offline"] * 50)
        assert [*first.users, *second.users] == users
        assert {first.expires, second.expires} == {90}
        assert list(await watching) == users


async def test_after_a_reconnect_it_subscribes_again(setting: Setting) -> None:
    """HP-20.2-9: for what is left of the time; only what has changed is told."""
    async with setting.live() as (client, peer):
        watching = asyncio.create_task(client.watch_presence(["bob", "carol"], expires=600))
        await subscribed(peer, "online", "online")
        await watching
        watching = asyncio.create_task(client.watch_presence(["dave"], expires=30))
        await subscribed(peer, "online")
        await watching
        unwatching = asyncio.create_task(client.unwatch_presence(["dave"]))
        gone = await peer.expect(frames.PresenceUnsubscribe)
        await peer.done(gone)
        await unwatching
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        asked = await subscribed(peer, "online", "away")
        assert asked.users == ("bob", "carol")
        assert 590 <= asked.expires <= 600
        assert await setting.events.next(Presence) == Presence("carol", "away", "", 0)
        await setting.settled(peer)
        assert setting.events.queue.empty()


async def test_an_answer_never_overwrites_what_came_after_it(setting: Setting) -> None:
    """HP-20.2-2: the push behind the answer is newer, though both come in one read."""

    async def answer_and_push(peer: Peer) -> None:
        asked = await peer.expect(PresenceSubscribe)
        before = PresenceList((UserPresence("bob", "offline", "", 5),))
        await peer.send(ok(asked, before), frames.Presence("bob", "online", "", 0))

    async with setting.live() as (client, peer):
        watching = asyncio.create_task(client.watch_presence(["bob"], expires=60))
        await answer_and_push(peer)
        assert (await watching)["bob"].state == "offline"
        assert await setting.events.next(Presence) == Presence("bob", "online", "", 0)
        for _ in range(2):  # and nothing of it is told again, since it is known
            peer.cut()
            peer = await setting.server.peer()
            await peer.accept()
            await answer_and_push(peer)
            await setting.settled(peer)
            assert Presence not in map(type, setting.events.passed)


async def test_what_is_over_is_not_subscribed_again(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-20.2-9: nor is anything known of it any more, so what comes then is news."""
    async with setting.live() as (client, peer):
        watching = asyncio.create_task(client.watch_presence(["bob"], expires=1))
        await subscribed(peer, "online")
        await watching
        loop = asyncio.get_running_loop()
        before = loop.time
        monkeypatch.setattr(loop, "time", lambda: before() + 1)
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        asking = asyncio.create_task(client.presence(["bob"]))
        asked = await peer.expect(PresenceGet)
        states = (UserPresence("bob", "away", "", 0),)
        await peer.done(asked, PresenceList(states))
        assert (await asking)["bob"].state == "away"
        await peer.send(frames.Presence("bob", "online", "", 0))
        assert await setting.events.next(Presence) == Presence("bob", "online", "", 0)


async def test_setting_is_repeated_after_a_reconnect(setting: Setting) -> None:
    """HP-20.2-7: as every request."""
    async with setting.live() as (client, peer):
        asking = asyncio.create_task(client.set_presence("away", status="lunch"))
        await peer.expect(PresenceSet)
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        asked = await peer.expect(PresenceSet)
        assert (asked.state, asked.status) == ("away", "lunch")
        await peer.done(asked)
        await asking


def test_a_repr_tells_no_names() -> None:
    """G7: events end up in logs."""
    assert repr(Presence("bob", "away", "secret", 0)) == "<Presence away>"
