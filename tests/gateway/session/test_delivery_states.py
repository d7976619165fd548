"""The states of a delivery: every transition of the table, and that there is no other.

An inbox that answers when the test says so takes the place of the store: no real one can be held
between a question and its answer, which is what most of the states are about.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from itertools import product
from typing import Final

import pytest

from gateway.redis.errors import Unavailable
from gateway.session.delivery import TRANSITIONS, DeliveryEvent, DeliveryState
from gateway.store.readers import Checked, Revocations
from tests.gateway.session.slow_inbox import Setting, page
from tests.harness import until

State, Event = DeliveryState, DeliveryEvent

CAN_NOT_BE: Final = {
    (State.PUSHING, Event.READ_OVER): "nothing reads",
    (State.READING, Event.READ): "one task reads at a time",
    (State.DOUBTING, Event.READ): "what is read could not be pushed",
    (State.DOUBTING, Event.READ_OVER): "nothing reads",
    (State.HALTING, Event.READ): "one task reads at a time",
    (State.ENDED, Event.READ): "what is read could not be pushed",
    (State.ENDED, Event.SETTLED): "the answer to a check is not looked at after the end",
    (State.ENDED, Event.END): "a session ends once",
}


@pytest.fixture
async def setting() -> AsyncIterator[Setting]:
    """A delivery, whose tasks end with the test."""
    setting = Setting()
    yield setting
    await setting.tasks.end_spawned()


async def do(setting: Setting, event: DeliveryEvent) -> None:
    """Make `event` happen, and nothing that follows from it."""
    setting.line.congested = event is not Event.READ  # or what settles would read at once
    if event is Event.READ:
        setting.hold.window.top = setting.hold.window.sent + 1
        setting.delivery.catch_up()
        await asyncio.sleep(0)  # a task that was made now begins, and asks for its page
    elif event is Event.READ_OVER:
        setting.inbox.pages.popleft().set_exception(Unavailable("away"))
        await setting.idle()
    elif event is Event.DOUBT:
        setting.delivery.doubt()
    elif event is Event.SETTLED:
        setting.delivery.settled(setting.hold.window.top)
    else:
        setting.delivery.stop()


def ways() -> Iterator[tuple[DeliveryState, list[DeliveryEvent]]]:
    """Each state that there is a way to from the first one, and the shortest such way."""
    found: dict[DeliveryState, list[DeliveryEvent]] = {State.PUSHING: []}
    queue = deque([State.PUSHING])
    while queue:
        state = queue.popleft()
        yield state, found[state]
        for event, after in TRANSITIONS[state].items():
            if after not in found:
                found[after] = [*found[state], event]
                queue.append(after)


def test_every_pair_is_in_the_table_or_has_a_reason_not_to_be() -> None:
    """G3: no state that nobody thought of, in what decides whether a message is pushed or read."""
    pairs = {(state, event) for state, row in TRANSITIONS.items() for event in row}
    assert pairs.isdisjoint(CAN_NOT_BE)
    assert pairs | CAN_NOT_BE.keys() == set(product(State, Event))
    assert {state for state, _ in ways()} == set(State)


@pytest.mark.parametrize(
    ("way", "event", "after"),
    [
        pytest.param(way, event, after, id=f"{state.name}-{event.name}")
        for state, way in [*ways(), (State.ENDED, [Event.READ, Event.END])]
        for event, after in TRANSITIONS[state].items()
        # After the end a reading can only be over if it was under way before.
        if event is not Event.READ_OVER or Event.READ in way
    ],
)
async def test_each_transition(
    setting: Setting, way: list[DeliveryEvent], event: DeliveryEvent, after: DeliveryState
) -> None:
    """G3: the delivery goes where its table says."""
    for each in way:
        await do(setting, each)
    await do(setting, event)
    assert setting.state is after


@pytest.mark.parametrize(
    "way", [pytest.param(way, id=state.name) for state, way in ways() if state is not State.PUSHING]
)
async def test_nothing_is_read_twice_or_in_vain(setting: Setting, way: list[DeliveryEvent]) -> None:
    """G9: only a delivery that pushes begins to read; each other one is let alone."""
    for each in way:
        await do(setting, each)
    before = setting.state
    await do(setting, Event.READ)
    await asyncio.sleep(0)
    assert setting.state is before
    assert len(setting.inbox.pages) == way.count(Event.READ)


async def test_a_reading_finds_out_that_the_session_has_ended(setting: Setting) -> None:
    """G3: the page that comes after the end is pushed to nobody."""
    await do(setting, Event.READ)
    await do(setting, Event.END)
    setting.line.congested = False
    (await setting.page_asked()).set_result(page(5))
    await setting.idle()
    assert setting.state is State.ENDED
    assert (setting.line.sent, setting.ended) == ([], [])


async def test_a_page_that_a_doubt_overtook_is_not_pushed(setting: Setting) -> None:
    """G3: it is read again once the check has found that the numbers still hold."""
    setting.stored(6)  # 5 is missing
    assert setting.at(State.READING)
    asked = await setting.page_asked()
    setting.delivery.doubt()
    assert setting.at(State.HALTING)
    asked.set_result(page(5, 6))
    await until(lambda: setting.state is State.DOUBTING)
    setting.stored(7)
    assert setting.line.sent == []
    setting.delivery.settled(7)
    assert setting.at(State.READING)
    (await setting.page_asked()).set_result(page(5, 6, 7))
    await until(lambda: setting.state is State.PUSHING)
    setting.stored(8)
    assert setting.line.sent == [b"5", b"6", b"7", b"8"]


async def test_what_is_asked_during_a_check_is_asked_again(setting: Setting) -> None:
    """HP-6.4-5: a session was renewed, with a token that was revoked after the store had been asked
    and before that was answered; it went on until the next regular check."""
    setting.delivery.check(lambda _: False)
    await until(lambda: setting.inbox.checks)
    first = setting.inbox.checks.popleft()
    setting.delivery.check(lambda _: False)
    first.set_result(Checked("e", 4, "s" * 16, Revocations()))
    await until(lambda: setting.inbox.checks)


async def test_a_doubt_during_a_check_asks_again(setting: Setting) -> None:
    """G3: the answer may be older than the doubt, and settles nothing."""
    setting.delivery.doubt()
    setting.delivery.check(lambda _: False)
    setting.delivery.check(lambda _: False)
    await until(lambda: setting.inbox.checks)
    first = setting.inbox.checks.popleft()
    setting.delivery.doubt()
    right = Checked("e", 4, "s" * 16, Revocations())
    first.set_result(right)
    await until(lambda: setting.inbox.checks)
    assert setting.at(State.DOUBTING)
    setting.inbox.checks.popleft().set_result(right)
    await until(lambda: setting.state is State.PUSHING)
    assert not setting.inbox.checks
