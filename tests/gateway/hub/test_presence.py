"""The hub's presence, with a store and sessions that only take notes. Time is the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from homeport import codec
from homeport.frames import Presence, UserPresence
from structlog.testing import capture_logs

from gateway.hub.presence import (
    AWAY_S,
    CHANGE_EVERY_S,
    READ_BATCH,
    REFRESH_S,
    RETRY_S,
    SLICE,
    PresenceHub,
)
from gateway.hub.rooms import SessionGone
from gateway.redis.errors import Unavailable
from gateway.store.presence import (
    CAME,
    GONE,
    SET,
    Device,
    Devices,
    TooManySubscriptions,
)
from gateway.wheel import RESOLUTION_S, Wheel
from tests.gateway.hub.ears import Ears
from tests.harness import FakeClock, until
from tests.inside import nothing_to_read, watchers

APP, GATEWAY = "02" + "a" * 30, "aaaaaa"


class Watching:
    """A session that takes notes."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.told: list[Presence] = []
        self.blockers: set[str] = set()
        self.full = False

    def on_room(self, payload: bytes, priority: int) -> bool:
        """Take it, unless full."""
        if self.full:
            return False
        presence = codec.decode_server(payload)
        assert isinstance(presence, Presence)
        self.told.append(presence)
        return True

    def blocked_by(self, user: str) -> bool:
        """See `WatchingSession`."""
        return user in self.blockers


class Store:
    """Users, as a test wants them."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.users: dict[str, Devices] = {}
        self.alive = frozenset({GATEWAY})
        self.away = False
        self.reads: list[list[str]] = []

    def channel(self, app_id: str, user: str) -> str:
        """The user's own."""
        return f"pres:{user}"

    async def read(self, users: Sequence[tuple[str, str]]) -> tuple[list[Devices], frozenset[str]]:
        """See `PresenceStore`; it takes its time."""
        self.reads.append([user for _, user in users])
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("away")
        return [self.users.get(user, Devices((), 0, b"")) for _, user in users], self.alive

    async def renew(self, lease_ms: int = 1) -> frozenset[str]:
        """See `PresenceStore`."""
        if self.away:
            raise Unavailable("away")
        return self.alive

    def here(self, user: str, *gateways: str, away: bool = False, status: bytes = b"") -> None:
        """The user has a device on each of these gateways."""
        now = self.clock.ms
        devices = tuple(Device(gateway, now, away) for gateway in gateways)
        self.users[user] = Devices(devices, now, status)


class Setting:
    """A hub, and sessions."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Store(self.clock)
        self.ears = Ears()
        self.wheel = Wheel(self.clock.steady)
        self.sessions: dict[str, Watching] = {}
        ears: Any = self.ears
        store: Any = self.store
        self.hub = PresenceHub(
            ears,
            store,
            lambda app, user, id: self.sessions.get(id),
            lambda app, user, sealed: sealed.decode(),
            self.clock.clock(),
            self.wheel,
        )

    async def watch(self, id: str, *users: str, expires: float = 3600) -> Watching:
        """A session that watches."""
        session = self.sessions.setdefault(id, Watching(id))
        self.answer = await self.hub.watch(APP, "w", id, users, expires)
        return session

    def say(self, user: str, what: bytes) -> None:
        """The channel of a watched user says so."""
        self.ears.publish(f"pres:{user}", what)

    async def pass_time(self, seconds: float) -> None:
        """Second by second."""
        left = seconds
        while left > 0:
            step = min(left, RESOLUTION_S)
            left -= step
            self.clock.advance(step)
            self.wheel.advance(self.clock.steady)
            await until(lambda: nothing_to_read(self.hub))


@pytest.fixture
async def setting() -> Setting:
    """See `Setting`."""
    return Setting()


async def test_who_comes_is_told_at_once(setting: Setting) -> None:
    """HP-20.2-2: no later than the wheel's next turn."""
    watcher = await setting.watch("1", "bob")
    assert setting.answer == [UserPresence("bob", "offline", "", 0)]
    setting.store.here("bob", GATEWAY)
    setting.say("bob", CAME)
    await setting.pass_time(2 * RESOLUTION_S)
    assert watcher.told == [Presence("bob", "online", "", 0)]


async def test_who_goes_is_told_ten_seconds_later(setting: Setting) -> None:
    """HP-20.2-3: and not at all if back before, which costs a reading and no frame."""
    setting.store.here("bob", GATEWAY)
    watcher = await setting.watch("1", "bob")
    setting.store.here("bob")
    setting.say("bob", GONE)
    await setting.pass_time(AWAY_S - 1)
    setting.store.here("bob", GATEWAY)
    setting.say("bob", CAME)
    await setting.pass_time(REFRESH_S)
    assert watcher.told == []
    setting.store.here("bob")
    since = setting.clock.ms
    setting.say("bob", GONE)
    await setting.pass_time(AWAY_S - 1)
    assert watcher.told == []
    await setting.pass_time(1 + 2 * RESOLUTION_S)
    assert watcher.told == [Presence("bob", "offline", "", since)]


async def test_who_is_gone_again_has_the_whole_time_again(setting: Setting) -> None:
    """HP-20.2-3: the ten seconds count from the last time that the user was here."""
    setting.store.here("bob", GATEWAY)
    watcher = await setting.watch("1", "bob")
    for _ in range(4):
        setting.store.here("bob")
        setting.say("bob", GONE)
        await setting.pass_time(AWAY_S - 1)
        setting.store.here("bob", GATEWAY)
        setting.say("bob", CAME)
        await setting.pass_time(0.5)
    assert watcher.told == []


async def test_a_gateway_whose_clock_is_behind_is_waited_for_no_longer(setting: Setting) -> None:
    """HP-20.2-3: where `since` lies in the future, this gateway's own clock counts."""
    setting.store.here("bob", GATEWAY)
    watcher = await setting.watch("1", "bob")
    setting.store.users["bob"] = Devices((), setting.clock.ms + 3_600_000, b"")
    setting.say("bob", GONE)
    await setting.pass_time(2 * AWAY_S + 1)
    assert [each.state for each in watcher.told] == ["offline"]


async def test_two_changes_are_five_seconds_apart(setting: Setting) -> None:
    """HP-20.2-4: the last of those in between wins, and no reading is done for the others."""
    setting.store.here("bob", GATEWAY)
    watcher = await setting.watch("1", "bob")
    for number in range(40):
        setting.store.here("bob", GATEWAY, status=b"%d" % number)
        setting.say("bob", SET)
        await setting.pass_time(RESOLUTION_S)
    await setting.pass_time(CHANGE_EVERY_S)
    numbers = [int(each.status) for each in watcher.told]
    assert numbers[-1] == 39
    assert all(b - a >= CHANGE_EVERY_S / RESOLUTION_S for a, b in pairwise(numbers[:-1]))
    assert len(setting.store.reads) < 10


async def test_a_change_that_is_found_by_chance_waits_too(setting: Setting) -> None:
    """HP-20.2-4: whatever made the gateway look, pub/sub that came back or a gateway's death."""
    setting.store.here("bob", GATEWAY)
    watcher = await setting.watch("1", "bob")
    for away in (True, False, True):
        setting.store.here("bob", GATEWAY, away=away)
        setting.hub.heal()
        await setting.pass_time(1)
    assert [each.state for each in watcher.told] == ["away"]
    setting.store.here("bob", GATEWAY)
    setting.hub.heal()
    await setting.pass_time(CHANGE_EVERY_S)
    assert [each.state for each in watcher.told] == ["away", "online"]


async def test_a_storm_reads_in_batches_and_tells_nobody(setting: Setting) -> None:
    """HP-20.2-3: a thousand users drop and are back: no frame, and some readings of many."""
    users = [f"u{number}" for number in range(1000)]
    for user in users:
        setting.store.here(user, GATEWAY)
    watchers = [await setting.watch(str(n), *users[n * 250 : n * 250 + 250]) for n in range(4)]
    setting.store.reads.clear()
    for user in users:
        setting.store.here(user)
        setting.say(user, GONE)
    await setting.pass_time(AWAY_S / 2)
    for user in users:
        setting.store.here(user, GATEWAY)
        setting.say(user, CAME)
    await setting.pass_time(AWAY_S)
    assert [watcher.told for watcher in watchers] == [[], [], [], []]
    assert sum(map(len, setting.store.reads)) <= 1000
    assert max(map(len, setting.store.reads)) <= READ_BATCH


async def test_what_was_missed_is_found_within_thirty_seconds(setting: Setting) -> None:
    """HP-20.3-2: also where the channel said nothing at all."""
    watcher = await setting.watch("1", "bob")
    setting.store.here("bob", GATEWAY)
    await setting.pass_time(REFRESH_S - 1)
    assert watcher.told == []
    await setting.pass_time(1 + 2 * RESOLUTION_S)
    assert [each.state for each in watcher.told] == ["online"]


async def test_a_reading_that_failed_is_done_again(setting: Setting) -> None:
    """HP-20.3-2: soon, and nothing is told that nobody knows."""
    setting.store.here("bob", GATEWAY)
    watcher = await setting.watch("1", "bob")
    setting.store.here("bob", GATEWAY, away=True)
    setting.store.away = True
    setting.say("bob", SET)
    await setting.pass_time(1)
    with pytest.raises(Unavailable):
        await setting.watch("1", "carol")
    assert setting.ears.wanted == ["pres:bob"]
    setting.store.away = False
    await setting.pass_time(RETRY_S + RESOLUTION_S)
    assert [each.state for each in watcher.told] == ["away"]


async def test_the_users_of_a_dead_gateway(setting: Setting) -> None:
    """HP-20.3-1: told as soon as it is known to be dead, but for one who has another device."""
    setting.store.alive = frozenset({GATEWAY, "bbbbbb"})
    setting.store.here("bob", "bbbbbb")
    setting.store.here("carol", "bbbbbb", GATEWAY)
    watcher = await setting.watch("1", "bob", "carol")
    for _ in range(5):  # as long as a lease
        await setting.pass_time(4)
        await setting.hub.lease.renew()
    setting.store.alive = frozenset({GATEWAY})
    await setting.hub.lease.renew()
    await setting.pass_time(2 * RESOLUTION_S)
    assert [(each.user, each.state) for each in watcher.told] == [("bob", "offline")]


async def test_blocks_hide_and_show(setting: Setting) -> None:
    """HP-20.4-1, HP-20.4-2: only the user who blocks, only from the session that is blocked."""
    for user in ("bob", "carol"):
        setting.store.here(user, GATEWAY, status=b"hi")
    one, two = await setting.watch("1", "bob", "carol"), await setting.watch("2", "bob")
    one.blockers.add("bob")
    setting.hub.blocks_changed("1")
    setting.hub.blocks_changed("nobody")
    assert one.told == [Presence("bob", "offline", "", 0)]
    setting.store.here("bob", GATEWAY, away=True)
    setting.say("bob", SET)
    await setting.pass_time(1)
    assert len(one.told) == 1
    assert two.told == [Presence("bob", "away", "", 0)]
    assert await setting.hub.look(APP, ["bob", "carol"]) == [
        UserPresence("bob", "away", "", 0),
        UserPresence("carol", "online", "hi", 0),
    ]
    one.blockers.clear()
    setting.hub.blocks_changed("1")
    setting.hub.blocks_changed("1")
    assert one.told[1:] == [Presence("bob", "away", "", 0)]


async def test_a_slow_client_is_told_the_last_state_once(setting: Setting) -> None:
    """HP-20.2-8, G9: nothing queues but which users it has not been told of."""
    setting.store.here("bob", GATEWAY)
    slow, other = await setting.watch("1", "bob"), await setting.watch("2", "bob")
    slow.full = True
    for number in range(3):
        setting.store.here("bob", GATEWAY, status=b"%d" % number)
        setting.say("bob", SET)
        await setting.pass_time(CHANGE_EVERY_S + 1)
    slow.full = False
    await setting.pass_time(2)
    assert [each.status for each in slow.told] == ["2"]
    assert [each.status for each in other.told] == ["0", "1", "2"]


async def test_a_subscription_is_over(setting: Setting) -> None:
    """HP-20.2-2, HP-20.2-5: by itself, by unwatching, with the session; then nothing is left."""
    watcher = await setting.watch("1", "bob", expires=20)
    await setting.pass_time(19)
    await setting.watch("1", "bob", expires=20)
    await setting.pass_time(10)
    setting.store.here("bob", GATEWAY)
    setting.say("bob", CAME)
    await setting.pass_time(1)
    assert len(watcher.told) == 1
    await setting.pass_time(10)
    assert setting.ears.wanted == []
    assert len(setting.wheel) == 0
    await setting.watch("1", "bob", "carol")
    await setting.watch("2", "bob")
    setting.hub.unwatch(APP, "1", ["bob", "nobody"])
    setting.hub.gone("2")
    assert setting.ears.wanted == ["pres:carol"]
    setting.hub.unwatch(APP, "1", ["carol"])
    setting.hub.gone("1")
    assert (setting.ears.wanted, len(setting.wheel), watchers(setting.hub)) == ([], 0, 0)


async def test_five_hundred_and_no_more(setting: Setting) -> None:
    """HP-20.2-6: the 501st is refused, and then nothing has changed."""
    users = [f"u{number}" for number in range(500)]
    await setting.watch("1", *users)
    for more in (["x"], ["u0", "x"]):
        with pytest.raises(TooManySubscriptions):
            await setting.watch("1", *more)
    assert len(setting.ears.wanted) == 500
    await setting.watch("1", "u0")


async def test_two_requests_for_the_same_user(setting: Setting) -> None:
    """HP-20.2-1: one channel; a request that gives up takes nothing from the other."""
    setting.store.here("bob", GATEWAY)
    setting.ears.confirming = False
    for id in ("1", "2"):
        setting.sessions[id] = Watching(id)
    first = asyncio.create_task(setting.hub.watch(APP, "w", "1", ["bob"], 60))
    second = asyncio.create_task(setting.hub.watch(APP, "w", "2", ["bob"], 60))
    await until(lambda: setting.ears.wanted)
    first.cancel()
    await asyncio.wait({first})
    assert setting.ears.wanted == ["pres:bob"]
    setting.ears.waiting[0].set_result(None)
    assert [each.state for each in await second] == ["online"]


async def test_a_session_that_ended_meanwhile_holds_nothing(setting: Setting) -> None:
    """HP-20.2-9: its subscription is answered to nobody."""
    with pytest.raises(SessionGone):
        await setting.hub.watch(APP, "w", "gone", ["bob"], 60)
    assert (setting.ears.wanted, len(setting.wheel)) == ([], 0)


async def test_a_user_whom_thousands_watch(setting: Setting) -> None:
    """G9: the loop gets its turn every few hundred writes; all of them are told the same."""
    setting.store.here("bob", GATEWAY)
    watchers = [await setting.watch(str(number), "bob") for number in range(4 * SLICE)]
    setting.store.here("bob", GATEWAY, away=True)
    setting.say("bob", SET)
    setting.clock.advance(1)
    setting.wheel.advance(setting.clock.steady)
    steps = []
    while not nothing_to_read(setting.hub):
        await asyncio.sleep(0)
        steps.append(sum(len(each.told) for each in watchers))
    assert max(b - a for a, b in pairwise([0, *steps])) <= SLICE
    assert [len(each.told) for each in watchers] == [1] * (4 * SLICE)


async def test_a_reading_that_fails_otherwise_is_done_again(setting: Setting) -> None:
    """G10: one task reads for all. What it had in hand when it failed was never looked at again."""
    watcher = await setting.watch("1", "bob")
    read = setting.store.read

    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    setting.store.read = broken  # type: ignore[method-assign, assignment]
    setting.store.here("bob", GATEWAY)
    setting.say("bob", CAME)
    with capture_logs() as logs:
        await setting.pass_time(2 * RESOLUTION_S)
    assert {log["event"] for log in logs} == {"presence_failed"}
    setting.store.read = read  # type: ignore[method-assign]
    await setting.pass_time(REFRESH_S)
    assert watcher.told == [Presence("bob", "online", "", 0)]


async def test_one_session_that_raises_keeps_no_other_from_what_it_watches(
    setting: Setting,
) -> None:
    """G10: the others behind it were never told. It is told itself once it can take it."""
    first, failing, last = [await setting.watch(name, "bob") for name in ("1", "2", "3")]
    take = failing.on_room

    def broken(*_: Any) -> bool:
        raise ZeroDivisionError

    failing.on_room = broken  # type: ignore[method-assign, assignment]
    setting.store.here("bob", GATEWAY)
    setting.say("bob", CAME)
    with capture_logs() as logs:
        await setting.pass_time(2 * RESOLUTION_S)
    here = [Presence("bob", "online", "", 0)]
    assert first.told == last.told == here
    assert {log["event"] for log in logs} == {"fan_out_failed"}
    failing.on_room = take  # type: ignore[method-assign]
    await setting.pass_time(2)
    assert failing.told == here
    assert first.told == last.told == here
