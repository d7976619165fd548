"""The hub's presence, with a store and sessions that only take notes. Time is the test's own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from homeport.frames import Presence, UserPresence

from gateway.hub.presence import (
    AWAY_S,
    CHANGE_EVERY_S,
    READ_BATCH,
    REFRESH_S,
    RETRY_S,
)
from gateway.redis.errors import Unavailable
from gateway.store.presence import (
    CAME,
    GONE,
    SET,
    Devices,
)
from gateway.wheel import RESOLUTION_S
from tests.gateway.hub.watching import GATEWAY, Setting


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
