"""Mirrors gateway/chat/prices.py: what each request takes out of the buckets (SPEC.md 17.1)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from homeport import frames

from gateway.apps.tiers import TIERS
from tests.harness import FakeClock, RawClient, RunningWorker

SPEC: Final = Path(__file__).parents[3] / "protocol" / "SPEC.md"
USERS: Final = tuple(f"u{n}" for n in range(9))

FREE_OF_TOKENS: Final = {frames.Connect, frames.Renew}
"""They have buckets of their own (17.3, 17.4)."""


def requests_of(group: str) -> dict[type, tuple[tuple[Any, ...], int]]:
    """For each type of request its fields and its price, in the order in which they can be asked.

    The group has eleven members, of whom alice is the owner.
    """
    return {
        frames.Send: (("s1", "bob", "text", bytes(32_000)), 1 + 7),
        frames.GroupCreate: (("c2", "name", list(USERS)), 2 + 2),
        frames.GroupRename: ((group, "other"), 2 + 2),
        frames.GroupAdd: ((group, ["zoe"]), 2 + 3),
        frames.GroupJoin: ((group,), 2 + 3),
        frames.GroupRemove: ((group, ["zoe"]), 2 + 3),
        frames.GroupRole: ((group, "u1", "admin"), 2 + 2),
        frames.GroupMute: ((group, True), 2 + 2),
        frames.GroupGet: ((group,), 4),
        frames.GroupList: ((), 16),
        frames.RoomSet: (("lobby", "everyone"), 2),
        frames.RoomJoin: (("lobby", 50), 2 + 6),
        frames.RoomSend: (("r1", "r:lobby", "text", b"x"), 1),
        frames.RoomLeave: (("lobby",), 2),
        frames.PresenceSet: (("away",), 2),
        frames.PresenceSubscribe: ((list(USERS),), 1 + 2),
        frames.PresenceUnsubscribe: ((list(USERS),), 1 + 2),
        frames.PresenceGet: ((list(USERS),), 1 + 2),
        frames.History: (("bob", 100), 1 + 12),
        frames.Conversations: ((100,), 1 + 25),
        frames.Mark: (("bob", 1, 1), 2),
        frames.Receipts: (("bob", 1), 4),
        frames.Unread: ((), 4),
        frames.Edit: ((f"g:{group}", 2, bytes(9_000)), 2 + 2 + 2),
        frames.Recall: ((f"g:{group}", 2), 2 + 2),
        frames.Forget: (("bob", 1), 2),
        frames.Block: (("carol",), 2),
        frames.Unblock: (("carol",), 2),
        frames.Blocks: ((), 4),
        frames.GroupDelete: ((group,), 2 + 2),
        frames.GroupLeave: ((group,), 2),
    }


async def test_each_request_takes_its_price_out_of_each_bucket(
    running: RunningWorker, clock: FakeClock
) -> None:
    """HP-17.1-1, HP-17.1-2: there is no request without a price, and no bucket that is spared."""
    limits, app = running.inside.limits, running.app
    async with running.client("alice") as alice:
        made = await alice.ask(frames.GroupCreate, "c1", "name", [*USERS, "bob"])
        await alice.ask(frames.Send, "g1", f"g:{made.id}", "text", b"a")
        user = limits.hold(app.id, "alice", TIERS["pro"].user)
        whole = limits.hold(app.id, "", TIERS["pro"].app)
        asked = requests_of(made.id)
        every = {each for each in get_args(frames.ClientFrame) if issubclass(each, frames.Request)}
        assert every - FREE_OF_TOKENS == set(asked)
        for kind, (fields, price) in asked.items():
            before = user.taken, whole.taken
            answer = await alice.answer(kind, *fields)
            if kind is not frames.GroupLeave:  # of a group that was just deleted
                assert isinstance(answer, frames.Ok), (kind, answer)
            spent = user.taken - before[0], whole.taken - before[1]
            assert spent == (price, price), kind


async def test_a_message_to_a_group_costs_by_its_members(
    running: RunningWorker, clock: FakeClock
) -> None:
    """HP-17.1-2: and a signal half of it."""
    async with running.client("alice") as alice:
        made = await alice.ask(frames.GroupCreate, "c1", "name", [f"m{n}" for n in range(79)])
        user = running.inside.limits.hold(running.app.id, "alice", TIERS["pro"].user)
        before = user.taken
        await alice.ask(frames.Send, "g1", f"g:{made.id}", "text", b"a")
        assert user.taken - before == 1 + 20
        before = user.taken
        await signal(alice, f"g:{made.id}")
        assert user.taken - before == 1 + 10


async def test_messages_that_are_looked_into_are_paid_for(
    running: RunningWorker, clock: FakeClock
) -> None:
    """HP-17.1-2, HP-14.3-8: bob's own message is somewhere among what he read in part, and a mark
    by one more would have it looked for again."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        user = running.inside.limits.hold(running.app.id, "bob", TIERS["pro"].user)
        for number in range(300):
            await alice.ask(frames.Send, f"s{number}", "bob", "text", b"a")
        await bob.ask(frames.Send, "own", "alice", "text", b"a")
        await bob.ask(frames.Mark, "alice", 0, 20)
        for price in (4 + 281 // 128, 4):
            before = user.taken
            answer = await bob.ask(frames.Unread)
            assert (answer.rows, user.taken - before) == ([("alice", 280)], price)
        await bob.ask(frames.Mark, "alice", 0, 21)
        before = user.taken
        listed = await bob.ask(frames.Conversations, 1)
        assert (listed.conversations[0].unread, user.taken - before) == (279, 1 + 280 // 128)


async def signal(client: RawClient, to: str) -> None:
    """Send a signal, and wait until the gateway has dealt with it."""
    await client.send(frames.Signal(to, "typing", b""))
    await client.until(frames.Signaled)


def test_the_table_of_the_contract_names_every_request() -> None:
    """HP-17.1-1: a stranger finds the price of each request in SPEC.md."""
    section = SPEC.read_text().split("### 17.1")[1].split("### 17.2")[0]
    rows = re.findall(r"^\| ([a-z][^|]*) \|", section, re.MULTILINE)
    named = set(re.findall(r"[a-z]+", " ".join(rows)))
    requests = {each for each in get_args(frames.ClientFrame) if issubclass(each, frames.Request)}
    assert {each.__name__.lower() for each in requests} <= named


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_affords_what_it_allows(tier: str) -> None:
    """HP-17.1-1: a message to the largest group of a tier fits into each of its buckets."""
    numbers = TIERS[tier]
    price = 1 + numbers.max_body // 4_096 + numbers.group_members // 4
    assert price <= min(numbers.session.burst, numbers.user.burst, numbers.app.burst)
