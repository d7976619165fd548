"""Mirrors gateway/hub/watchers.py."""

from __future__ import annotations

import asyncio
from math import inf

from homeport.frames import UserPresence

from gateway.hub.watchers import BEHIND_S, Topic, Watcher, hidden

ONLINE = UserPresence("bob", "online", "hi", 0)


class Session:
    """One that nobody blocks, until a test says so."""

    id = "1"

    def __init__(self) -> None:
        self.blockers = set[str]()

    def on_room(self, payload: bytes, priority: int) -> bool:
        """See `WatchingSession`."""
        return True

    def blocked_by(self, user: str) -> bool:
        """See `WatchingSession`."""
        return user in self.blockers


def topic_of(queued: list[Topic]) -> Topic:
    """Bob, online."""
    confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    topic = Topic("app", "bob", "channel", confirmed, queued.append)
    topic.shown = ONLINE
    return topic


def watcher_of(session: Session) -> Watcher:
    """One that watches nobody yet."""
    return Watcher(session, lambda _, now: now)


async def test_who_blocks_seems_to_be_offline() -> None:
    """HP-20.4-1: to the user who is blocked, from the change on and until the next."""
    session, topic = Session(), topic_of([])
    watcher = watcher_of(session)
    assert not watcher.look_for_block(topic)
    assert watcher.state_of(topic) == ONLINE
    session.blockers.add("bob")
    assert watcher.look_for_block(topic)
    assert not watcher.look_for_block(topic)
    assert watcher.state_of(topic) == hidden("bob") == UserPresence("bob", "offline", "", 0)
    session.blockers.clear()
    assert watcher.look_for_block(topic)
    assert watcher.state_of(topic) == ONLINE


async def test_a_watcher_is_visited_as_a_subscription_ends_or_sooner_to_catch_up() -> None:
    """HP-20.2: and no more once it watches nobody."""
    watcher, topic, other = watcher_of(Session()), topic_of([]), topic_of([])
    assert watcher.next_visit(10.0) is None
    watcher.expires.update({topic: 70.0, other: 40.0})
    assert watcher.next_visit(10.0) == 40.0
    watcher.behind.add(topic)
    assert watcher.next_visit(10.0) == 10.0 + BEHIND_S
    assert watcher.next_visit(39.9) == 40.0


async def test_a_topic_that_is_due_is_queued_once() -> None:
    """And whatever comes next may plan it anew."""
    queued: list[Topic] = []
    topic = topic_of(queued)
    topic.due = 5.0
    assert topic.visit(5.0) is None
    assert (queued, topic.due) == ([topic], inf)
