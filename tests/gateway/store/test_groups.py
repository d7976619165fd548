"""Mirrors gateway/store/groups.py: two gateways that know a group, on one Redis."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from gateway.redis.errors import Unavailable
from gateway.redis.scripts import SCRIPTS, Script
from gateway.store import groups as module
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry, StaleMembers, Stored
from gateway.store.fanout import TAKEOVER_MS
from gateway.store.group_state import Change, Group, Member
from gateway.store.groups import GroupStore
from gateway.store.inbox import PROFILE_MS, InboxStore
from tests.chunks import chunk_of
from tests.gateway.store.conftest import APP_ID, Store, apart, message_id, together

ANN, BOB, CID = "ann", together("ann"), apart("ann")
TEAM = "ab" * 16
DAY_S = 86_400


class Gateway:
    """One gateway's groups and conversations."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.talks = ConversationStore(store.link, store.keys)
        self.groups = GroupStore(store.link, store.keys, self.talks, lambda: store.clock.ms)
        self.inboxes = InboxStore(store.link, store.keys, self.talks)

    def entry(self, text: str, sender: str = ANN, flags: int = 1) -> NewEntry:
        """A new message, now."""
        mid = hashlib.sha256(message_id()).digest()[:16]
        return NewEntry(mid, text.encode(), self.store.clock.ms, sender, flags)

    async def current(self, group: str = TEAM) -> Group | None:
        """The group as it is now."""
        return await self.groups.current(self.store.app, group)

    async def have(self, *users: str, group: str = TEAM, note: str = "note") -> None:
        """Change the group so that these are its members; the first one owns it."""
        before = await self.current(group)
        old = set(before.members) if before else set()
        members: dict[str, Member | None] = {u: Member("member") for u in users if u not in old}
        if before is None:
            members[users[0]] = Member("owner")
        members |= dict.fromkeys(old - set(users))
        await self.change(Change(members=members), group, note)

    async def change(self, change: Change, group: str = TEAM, note: str = "note") -> None:
        """Change the group as it is now."""
        before = await self.current(group)
        version = self.groups.next_version(before)
        notice = self.entry(note, "", 0)
        assert await self.groups.change(self.store.app, group, before, change, version, notice)

    def by_heart(self) -> Group:
        """The group as this gateway has it in memory."""
        known = self.groups.known(self.store.app, TEAM)
        assert known is not None
        return known

    async def say(self, text: str | NewEntry, sender: str = ANN) -> Stored:
        """A message to the group, by the list in memory."""
        entry = self.entry(text, sender) if isinstance(text, str) else text
        to = self.by_heart().recipients
        return await self.talks.send(APP_ID, self.store.tier, to, entry)

    async def has(self, user: str) -> list[str]:
        """What waits in an inbox."""
        said: list[str] = []
        last = 0
        while True:
            page = await self.inboxes.page(APP_ID, user, last)
            found = await self.inboxes.messages(
                APP_ID, self.store.tier, user, page.references, self.store.clock.ms
            )
            for each in found:
                record = each.message.record if each.message is not None else None
                said.append("gone" if record is None else record.decode())
            if not found:
                return said
            last = page.references[len(found) - 1].number

    async def mine(self, user: str, after: str = "", count: int = 100) -> list[tuple[str, int]]:
        """Id and size of the user's groups."""
        found, _ = await self.groups.of_user(APP_ID, user, after, count)
        return [(each.id, each.size) for each in found]


@pytest.fixture
async def gateways(store: Store) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two, on each kind of Redis."""
    yield Gateway(store), Gateway(store)


@pytest.fixture
async def gateway(one_store: Store) -> AsyncIterator[Gateway]:
    """One, on one server."""
    yield Gateway(one_store)


class Away:
    """What a link does from now on with the calls of some scripts: they never reach Redis."""

    def __init__(self, patch: pytest.MonkeyPatch, store: Store, *names: str) -> None:
        self.calls: list[str] = []
        scripts = {SCRIPTS[name].sha.encode(): name for name in SCRIPTS}
        lost = {SCRIPTS[name].sha.encode() for name in names}
        run_then, run_packed = store.link.run_then, store.link.run_packed

        def run_one(then: Any, script: Script, *said: Any, **options: Any) -> None:
            self.calls.append(scripts[script.sha.encode()])
            if script.sha.encode() in lost:
                then(Unavailable("test"))
            else:
                run_then(then, script, *said, **options)

        def packed(then: Any, command: bytes, bucket: int, **options: Any) -> None:
            sha = next(sha for sha in scripts if sha in command)
            self.calls.append(scripts[sha])
            if sha in lost:
                then(Unavailable("test"))
            else:
                run_packed(then, command, bucket, **options)

        patch.setattr(store.link, "run_then", run_one)
        patch.setattr(store.link, "run_packed", packed)


async def test_a_send_is_one_call_of_the_conversation_and_one_a_bucket(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: nothing is read before; the group was read when it was changed here."""
    users = [ANN, *(f"u{n}" for n in range(50))]
    await gateway.have(*users)
    buckets = {gateway.store.keys.inbox(APP_ID, user).bucket for user in users}
    counted = Away(monkeypatch, gateway.store)
    await gateway.say("hello")
    assert counted.calls == ["conversation_send"] + ["references"] * len(buckets)


async def test_who_was_removed_gets_nothing_after_it_and_who_was_added_nothing_before(
    gateways: tuple[Gateway, Gateway],
) -> None:
    """HP-11.2-6: on a gateway, too, that knows the group as it was: it stores nothing by that."""
    one, two = gateways
    await one.have(ANN, BOB)
    await two.current()
    await two.say("1")
    await one.have(ANN, CID, note="bob goes, cid comes")
    old = two.by_heart()
    with pytest.raises(StaleMembers) as caught:
        await two.say("2")
    assert caught.value.version == one.by_heart().version > old.version
    await two.current()
    await two.say("2")
    assert await one.has(BOB) == ["note", "1", "bob goes, cid comes"]
    assert await one.has(CID) == ["bob goes, cid comes", "2"]
    assert await one.has(ANN) == ["note", "1", "bob goes, cid comes", "2"]


@pytest.mark.parametrize("stale", [True, False])
async def test_a_repeat_reaches_nobody_who_was_out_of_it_when_it_was_first_sent(
    gateways: tuple[Gateway, Gateway], stale: bool
) -> None:
    """G2, HP-11.2-6: bob is removed, then something is said; a gateway that still has bob in its
    list and gets the repeat would refer bob to it. And cid, who came later, gets it from none."""
    one, two = gateways
    await one.have(ANN, BOB)
    await two.current()
    await one.have(ANN)
    secret = one.entry("bob is gone")
    first = await one.say(secret)
    await one.have(ANN, CID, note="cid comes")
    again = replace(secret, record=b"again", time_ms=secret.time_ms + 1)
    if stale:
        with pytest.raises(StaleMembers):
            await two.say(again)
    await two.current()
    assert await two.say(again) == first._replace(repeated=True)
    assert await one.has(BOB) == ["note", "note"]
    assert await one.has(CID) == ["cid comes"]


async def test_a_heal_by_an_old_list_is_refused(gateways: tuple[Gateway, Gateway]) -> None:
    """HP-11.2-6: who makes good what a dead gateway owed goes by the members as they are: bob was
    removed before the last message."""
    one, two = gateways
    await one.have(ANN, BOB)
    await two.current()
    old = two.by_heart().recipients
    await one.have(ANN)
    await one.say("bob is gone")
    with pytest.raises(StaleMembers):
        await two.talks.heal(APP_ID, two.store.tier, old)
    notice = two.entry("recalled", "", 0)
    with pytest.raises(StaleMembers):
        await two.talks.replace(
            APP_ID,
            two.store.tier,
            old,
            3,
            notice,
            expected=0,
            change=11,
            record=b"gone",
            recall=True,
        )
    await two.groups.heal(two.store.app, TEAM)
    assert await one.has(BOB) == ["note", "note"]


@pytest.mark.parametrize("healer", ["a message", "a repeated change", "the sweeper"])
async def test_a_change_whose_gateway_died_is_told_all_the_same(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, healer: str
) -> None:
    """HP-11.3-2, G10: by the next message, a repeat of the request, or the sweeper; before what is
    said later, and once."""
    store = gateway.store
    await gateway.have(ANN, BOB, CID)
    with monkeypatch.context() as patch:
        Away(patch, store, "references")
        with pytest.raises(Unavailable):
            await gateway.change(Change(muted=True), note="hush")
    two = Gateway(store)
    await two.current()
    assert "hush" not in await two.has(BOB) + await two.has(CID)
    if healer == "a repeated change":
        await two.groups.heal(store.app, TEAM)
    elif healer == "the sweeper":
        store.clock.advance(TAKEOVER_MS / 1000 - 1)
        await store.sweeper().sweep()
        assert "hush" not in await two.has(BOB) + await two.has(CID)
        store.clock.advance(2)
        await store.sweeper().sweep()
    await two.say("next")
    for user in (ANN, BOB, CID):
        assert await two.has(user) == ["note", "hush", "next"]


async def test_what_is_owed_to_nobody_is_not_told_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: a request that is repeated for ever costs a question, and no fan-out."""
    await gateway.have(ANN, BOB, CID)
    await gateway.talks.fanout.settle(gateway.store.clock.ms)
    counted = Away(monkeypatch, gateway.store)
    await gateway.groups.heal(gateway.store.app, TEAM)
    assert counted.calls == ["group_read", "conversation_last"]


async def test_one_question_is_under_way_and_answers_come_in_order(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3, G9: whoever asks meanwhile shares the next question; the members come with it only where
    the version is another."""
    await gateway.have(ANN, BOB)
    counted, order = Away(monkeypatch, gateway.store), list[int]()

    def noted(number: int, _: object) -> None:
        order.append(number)

    asked = [gateway.groups.current(gateway.store.app, TEAM) for _ in range(10)]
    for number, future in enumerate(asked):
        future.add_done_callback(partial(noted, number))
    found = await asyncio.gather(*asked)
    assert counted.calls == ["group_read", "group_read"]
    assert order == list(range(10))
    assert all(each is gateway.by_heart() for each in found)


async def test_memory_holds_as_many_members_as_it_may(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: the group that was not used for longest goes; one that there is not takes no place."""
    monkeypatch.setattr(module, "CACHED_MEMBERS", 5)
    names = ["ab" * 16, "cd" * 16, "ef" * 16]
    for name in names:
        await gateway.have(ANN, BOB, group=name)
    known = [gateway.groups.known(gateway.store.app, name) is not None for name in names]
    assert known == [False, True, True]
    assert await gateway.current("12" * 16) is None
    assert gateway.groups.known(gateway.store.app, "12" * 16) is None


async def test_a_version_is_never_given_twice(gateway: Gateway) -> None:
    """HP-11.2-6: Redis comes back older, and another change is made. A gateway that has the lost
    one in memory must not take its list for the present one."""
    store = gateway.store
    await gateway.have(ANN, BOB, CID)
    head = store.keys.conversation(APP_ID, f"g:{TEAM}").head
    keys = (store.keys.group(APP_ID, TEAM).state, head, chunk_of(store.raw, head))
    raw: Any = store.raw
    before = {key: raw.dump(key) for key in keys}
    await gateway.have(ANN, BOB)
    for key, dump in before.items():
        raw.restore(key, 0, dump, replace=True)
    store.clock.advance(1)
    await Gateway(store).have(ANN, CID)
    with pytest.raises(StaleMembers):
        await gateway.say("bob was removed")


async def test_a_group_whose_conversation_is_lost_begins_anew(
    gateways: tuple[Gateway, Gateway],
) -> None:
    """G5, G3: members were in from numbers that are gone; cid, who came late, would have been told
    nothing until the new numbers are as high as those were."""
    one, two = gateways
    store = one.store
    await one.have(ANN, BOB)
    for number in range(5):
        await one.say(str(number))
    await one.have(ANN, CID)
    await two.current()
    head = store.keys.conversation(APP_ID, f"g:{TEAM}").head
    store.raw.delete(head)
    with pytest.raises(StaleMembers):
        await two.say("new")
    await two.current()
    assert (await two.say("new")).seq == 1
    assert (await one.has(CID))[-2:] == ["gone", "new"]
    await one.have(ANN, BOB, CID, note="bob is back")
    await one.say("all")
    for user in (ANN, BOB, CID):
        assert (await one.has(user))[-2:] == ["bob is back", "all"]


async def test_a_users_groups_are_those_they_are_in(gateway: Gateway) -> None:
    """HP-11.5-2: by id, a page at a time, with the size; not one that they left, nor one that has
    ended, and however long nothing is said in it."""
    names = sorted(f"{n:032x}" for n in (7, 1, 200, 33))
    for name in names:
        await gateway.have(ANN, BOB, group=name)
    assert await gateway.mine(BOB) == [(name, 2) for name in names]
    found, more = await gateway.groups.of_user(APP_ID, BOB, "", 3)
    assert ([each.id for each in found], more) == (names[:3], names[2])
    assert (found[0].role, found[0].muted) == ("member", False)
    assert await gateway.groups.of_user(APP_ID, BOB, names[2], 3) == (
        [replace_id(found[0], names[3])],
        None,
    )
    await gateway.have(ANN, group=names[0])
    await gateway.change(Change(deleted_by=ANN), names[1])
    assert await gateway.mine(BOB) == [(name, 2) for name in names[2:]]
    assert await gateway.mine(ANN) == [(names[0], 1), *((name, 2) for name in names[2:])]
    store = gateway.store
    for days in (1, 4, 100, 200):
        store.clock.advance(days * DAY_S)
        await gateway.talks.fanout.settle(store.clock.ms)
        await store.sweeper().sweep()
        assert await gateway.mine(BOB) == [(name, 2) for name in names[2:]]


def replace_id(summary: Any, name: str) -> Any:
    """The same of another group, whose version is its own."""
    return summary._replace(id=name)


async def test_a_group_in_which_nothing_was_said_for_long_goes_on(gateway: Gateway) -> None:
    """G3: its numbers go on after half a year of silence, as its members are in from some of
    them."""
    store = gateway.store
    await gateway.have(ANN, BOB)
    await gateway.say("once")
    await gateway.have(ANN, BOB, CID)
    await gateway.talks.fanout.settle(store.clock.ms)
    for days in (4, 181, 181, 181):
        store.clock.advance(days * DAY_S)
        await store.sweeper().sweep()
    assert (await gateway.say("again")).seq == 4
    assert await gateway.has(CID) == ["again"]


async def names_left(store: Store, group: str = TEAM) -> list[bytes]:
    """Keys that name the group, or hold its name."""
    left = []
    for key in store.raw.scan_iter(count=1000):
        if group.encode() in key or group.encode() in (store.raw.dump(key) or b""):
            left.append(key)
    return left


@pytest.mark.parametrize("told", [True, False])
async def test_a_deleted_group_leaves_nothing(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """HP-13.1-5, G11: what was said goes at once, and the notice with its time; then no key names
    the group. Also where the gateway died before it told anybody."""
    store = gateway.store
    store.raw.config_set("rdbcompression", "no")
    await gateway.have(ANN, BOB, CID)
    for number in range(300):
        await gateway.say(f"CANARY{number}")
    ttl = replace(gateway.entry("CANARY"), expires_ms=store.clock.ms + 3 * DAY_S * 1000)
    await gateway.say(ttl)
    await gateway.have(ANN, CID)
    with monkeypatch.context() as patch:
        if told:
            await gateway.change(Change(deleted_by=ANN), note="ended")
        else:
            Away(patch, store, "references")
            with pytest.raises(Unavailable):
                await gateway.change(Change(deleted_by=ANN), note="ended")
    assert not store.holds(b"CANARY")
    await gateway.talks.fanout.settle(store.clock.ms)
    store.clock.advance(60)
    await store.sweeper().sweep()
    for user in (ANN, CID):
        assert (await gateway.has(user))[-1] == "ended"
    assert "ended" not in await gateway.has(BOB)
    state = store.keys.group(APP_ID, TEAM).state
    # The sweeper's own conversations settle with the gateway's, in a gateway.
    again = Gateway(store)
    assert (await again.current()) is not None
    store.clock.advance(store.tier.retention_ms / 1000)
    await store.sweeper().sweep()
    assert not store.raw.exists(state)
    store.clock.advance(2 * 3600)
    await store.sweeper().sweep()
    sent = [key for key in await names_left(store) if b":sent:" not in key]
    assert sent == []


async def test_a_group_that_ended_is_remembered_for_as_long_as_a_repeat_may_come(
    gateway: Gateway,
) -> None:
    """HP-11.1-2: ten minutes from when all were told."""
    store = gateway.store
    await gateway.have(ANN, BOB)
    await gateway.change(Change(deleted_by=ANN))
    state = store.keys.group(APP_ID, TEAM).state
    assert store.raw.pttl(state) == -1
    await gateway.talks.fanout.settle(store.clock.ms)
    assert 590_000 < store.raw.pttl(state) <= 600_000
    group = await gateway.current()
    assert group is not None
    assert (group.gone, group.members, group.sealed_name) == (ANN, {}, b"")


async def test_a_group_that_is_made_again_goes_on_after_the_one_that_ended(
    gateway: Gateway,
) -> None:
    """HP-11.1-2, G3: its numbers and versions are none of the old ones, and it lives as long as
    any."""
    store = gateway.store
    await gateway.have(ANN, BOB, CID)
    await gateway.say("old")
    await gateway.change(Change(deleted_by=ANN), note="ended")
    await gateway.talks.fanout.settle(store.clock.ms)
    store.raw.delete(store.keys.group(APP_ID, TEAM).state)
    await gateway.have(ANN, BOB, note="again")
    assert (await gateway.say("new")).seq == 5
    assert await gateway.has(BOB) == ["gone", "gone", "ended", "again", "new"]
    assert await gateway.has(CID) == ["gone", "gone", "ended"]
    assert await gateway.mine(BOB) == [(TEAM, 2)]
    await gateway.talks.fanout.settle(store.clock.ms)
    store.clock.advance(4 * DAY_S)
    await store.sweeper().sweep()
    assert (await gateway.say("later")).seq == 6


async def test_a_group_of_an_app_that_is_gone_goes_with_it(gateway: Gateway) -> None:
    """HP-11.1-5: the group has no message any more, or its conversation's head is lost."""
    store = gateway.store
    head = store.keys.conversation(APP_ID, f"g:{TEAM}").head
    for lost in (False, True):
        await gateway.have(ANN, BOB) if not lost else await gateway.have(ANN, BOB, CID)
        if lost:
            store.raw.delete(head)
        swept = await gateway.talks.sweep(APP_ID, f"g:{TEAM}", store.clock.ms, 0, PROFILE_MS)
        assert not swept.more
        assert store.raw.exists(store.keys.group(APP_ID, TEAM).state)
        due = store.keys.conversation(APP_ID, f"g:{TEAM}")
        assert store.raw.zscore(due.due, due.member) is not None
        await gateway.talks.sweep(APP_ID, f"g:{TEAM}", store.clock.ms, 0, 0)
        assert store.raw.zscore(due.due, due.member) is None
        assert not store.raw.exists(head, store.keys.group(APP_ID, TEAM).state)
        await gateway.current()


async def test_a_signal_reaches_no_member_who_was_told_that_they_are_out(
    gateways: tuple[Gateway, Gateway],
) -> None:
    """HP-16.1-7: a gateway had read the list, and stalled; bob has the notice of his removal."""
    one, two = gateways
    store = one.store
    await one.have(ANN, BOB, CID)
    old = await two.current()
    assert old is not None
    await one.have(ANN, CID)
    channels = [store.keys.inbox(APP_ID, user).channel for user in (ANN, BOB, CID)]
    async with store.hearing(*channels) as heard:
        await two.groups.signal(store.app, old, b"late")
        await one.have(ANN, BOB, CID)
        new = await two.current()
        assert new is not None
        await two.groups.signal(store.app, new, b"again")
        found = list[tuple[bytes, bytes]]()
        while sum(payload == b"again" for _, payload in found) < 3:
            found.append(await asyncio.wait_for(heard.get(), 10))
    late = sorted(channel.decode() for channel, payload in found if payload == b"late")
    assert late == sorted([channels[0], channels[2]])
