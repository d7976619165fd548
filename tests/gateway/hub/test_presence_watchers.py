"""The hub's presence: what sessions watch, and which of them hears what."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from homeport.frames import Presence, UserPresence
from structlog.testing import capture_logs

from gateway.hub.hub import SessionGone
from gateway.hub.presence import (
    CHANGE_EVERY_S,
    REFRESH_S,
    SLICE,
)
from gateway.store.presence import (
    CAME,
    SET,
    TooManySubscriptions,
)
from gateway.wheel import RESOLUTION_S
from tests.gateway.hub.watching import APP, GATEWAY, Setting, Watching
from tests.harness import until
from tests.inside import nothing_to_read, watchers


@pytest.fixture
async def setting() -> Setting:
    """See `Setting`."""
    return Setting()


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
