"""Inboxes and groups, and a model of them in plain Python: the same happens to both.

The model is in `tests.gateway.store.model`; `test_inbox_model` adds recall and edit.
"""

from __future__ import annotations

import asyncio
from typing import Any

import redis
from homeport.frames import Cursor
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from gateway.security.keyring import Keyring
from gateway.store.audience import Audience
from gateway.store.entries import NewMessage
from gateway.store.group_state import Change, Group, Member, Notice
from gateway.store.groups import GroupStore
from gateway.store.inbox import PROFILE_MS
from gateway.store.readers import DeviceState
from tests.gateway.store.conftest import APP_ID, Store, apart, message_id, open_store, together
from tests.gateway.store.model import Device, Inbox, Sent, Team

DEVICES = ("a", "b", "c")
USERS = ("ann", together("ann"), apart("ann"))
"""Two share a bucket, so one call stores for both of them; the third one's is another call."""

GROUPS = 3

users = st.sampled_from(USERS)


class Machine(RuleBasedStateMachine):
    """Does the same to a real store and to the model."""

    url = ""
    keyring: Keyring

    def __init__(self) -> None:
        super().__init__()
        with redis.Redis.from_url(self.url) as raw:
            raw.flushall()
        self.loop = asyncio.new_event_loop()
        self.opening = open_store(self.url, self.keyring)
        self.store: Store = self.loop.run_until_complete(self.opening.__aenter__())
        self.sweeper = self.store.sweeper()
        self.inboxes = {user: Inbox() for user in USERS}
        self.gateways = [self.gateway(), self.gateway()]
        self.teams: dict[str, Team] = {}
        self.sent: list[Sent] = []
        self.by_list: list[tuple[Group, bytes]] = []
        self.records = 0
        self.latest = self.set_back = 0
        self.set_tier("free")

    def teardown(self) -> None:
        self.loop.run_until_complete(self.opening.__aexit__(None, None, None))
        self.loop.close()

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    @property
    def now(self) -> int:
        return self.store.clock.ms

    @property
    def retention(self) -> int:
        return self.store.app.tier.retention_ms

    def set_tier(self, name: str) -> None:
        self.store.use_tier(name)

    def gateway(self) -> GroupStore:
        """What one gateway knows of groups: it keeps lists of members of its own."""
        store = self.store
        return GroupStore(store.link, store.keys, store.inboxes, lambda: store.clock.ms)

    def record(self) -> bytes:
        """One that no other message has. It begins with its message's id, as all records do."""
        self.records += 1
        return message_id() + b"record %d." % self.records

    # -- what happens ------------------------------------------------------------------------------

    @rule(
        seconds=st.sampled_from(
            [0.001, 1, 3600, 86_400, 3 * 86_400 - 0.001, 3 * 86_400, 7 * 86_400]
        )
    )
    def time_passes(self, seconds: float) -> None:
        self.store.clock.now = round(self.store.clock.now + seconds, 3)

    @rule(seconds=st.sampled_from([0.001, 3600]))
    def the_clock_is_set_back(self, seconds: float) -> None:
        self.latest = max(self.latest, self.now)
        self.store.clock.now = round(self.store.clock.now - seconds, 3)
        self.set_back = max(self.set_back, self.latest - self.now)

    @rule(to=st.sets(users, min_size=1), count=st.integers(1, 4))
    def messages_arrive(self, to: set[str], count: int) -> None:
        for _ in range(count):
            record = self.record()
            self.run(self.arrive(to, record))
            self.sent.append(Sent(sorted(to), self.now, record))
            for user in to:
                self.inboxes[user].receive(record, self.now)

    async def arrive(self, to: set[str], record: bytes) -> None:
        await self.store.deliver(*sorted(to), record=record, mid=record[:16])

    @rule(user=users, device=st.sampled_from(DEVICES), own_cursor=st.booleans())
    def a_device_connects(self, user: str, device: str, own_cursor: bool) -> None:
        model = self.inboxes[user]
        known = model.devices.get(device)
        acked = known.acked if known else model.all_acked
        cursor = known.cursor if known and own_cursor else None
        valid = cursor is not None and cursor.epoch == model.epoch
        start = cursor.seq if cursor is not None and valid else acked
        attached: DeviceState = self.run(self.store.attach(user, device, device, cursor))
        assert not model.epoch or attached.cursor.epoch == model.epoch
        model.epoch = attached.cursor.epoch
        due = [m for m in model.readable(self.now, self.retention) if m.seq > start]
        first = due[0].seq if due else model.top + 1
        assert [(e.seq, e.ms, e.record) for e in attached.entries] == [
            (m.seq, m.ms, m.record) for m in due
        ]
        assert attached.lost == ((start + 1, first - 1) if first > start + 1 else None)
        assert attached.cursor.seq == first - 1
        assert attached.top == model.top
        assert attached.resumed == (valid and attached.lost is None)
        if cursor is not None and valid and start:
            # A cursor that stands behind what was lost names no message: its ms is the next one's.
            named = model.messages[start - 1]
            if not named.gone and named.ms == cursor.ms:
                acked = max(acked, start)
        model.devices[device] = Device(acked, self.now, attached.cursor)
        model.last_used = max(model.last_used, self.now)

    @precondition(lambda self: any(model.devices for model in self.inboxes.values()))
    @rule(data=st.data(), closing=st.booleans())
    def a_device_acknowledges(self, data: st.DataObject, closing: bool) -> None:
        """Something it was given, or, late, something it had acknowledged before."""
        user = data.draw(st.sampled_from([u for u in USERS if self.inboxes[u].devices]))
        model = self.inboxes[user]
        name = data.draw(st.sampled_from(sorted(model.devices)))
        device = model.devices[name]
        given = [
            Cursor(model.epoch, m.ms, m.seq)
            for m in model.readable(self.now, self.retention)
            if m.seq > device.cursor.seq
        ]
        cursor = data.draw(st.sampled_from([device.cursor, *given]))
        self.run(self.store.ack(user, cursor, name, name, closing))
        device.cursor, device.seen = cursor, self.now
        model.last_used = self.now
        if cursor.seq > device.acked:
            device.acked = cursor.seq
            fresh = [d.acked for d in model.devices.values() if d.seen + self.retention > self.now]
            floor = min([cursor.seq, *fresh])
            model.all_acked = max(model.all_acked, floor)
            for message in model.messages[: model.all_acked]:
                message.gone = message.gone or "acknowledged"

    @rule(tier=st.sampled_from(["free", "basic", "pro"]))
    def the_tier_changes(self, tier: str) -> None:
        async def change() -> None:
            async with self.store.admin() as admin:
                await admin.apps.change(APP_ID, "tier", tier, self.now)

        self.run(change())
        self.set_tier(tier)

    @rule()
    def the_sweeper_comes(self) -> None:
        for group_id in self.teams:  # a notice it would deliver may push an old message out
            self.settle(group_id, 0)
        now = self.now
        dues = {user: self.store.due(user) for user in USERS}
        over = [
            m
            for user, model in self.inboxes.items()
            for m in model.messages
            if not m.gone and m.ms + self.retention <= now and (dues[user] or 0) <= now
        ]
        assert self.run(self.sweeper.sweep()) == len(over)
        for message in over:
            message.gone = "age"
        for user, due in dues.items():
            self.the_sweeper_was_at(user, due is not None and due <= now)

    def the_sweeper_was_at(self, user: str, visited: bool) -> None:
        model = self.inboxes[user]
        late = [n for n, d in model.devices.items() if d.seen + self.retention <= self.now]
        if not visited:  # a device's time may come later by what a clock was set back
            late = []
        kept = self.store.devices(user)
        assert kept == model.devices.keys() - set(late)
        for name in late:
            del model.devices[name]
        idle_since = max(model.last_used, model.last_ms)
        waiting = any(not m.gone for m in model.messages)
        if visited and not model.devices and not waiting and idle_since + PROFILE_MS <= self.now:
            self.inboxes[user] = Inbox()
            assert self.store.meta(user) == {}

    # -- groups ------------------------------------------------------------------------------------

    def settle(self, group_id: str, gateway: int) -> Group:
        """A gateway reads the group, and with that tells what was not told yet."""
        team = self.teams[group_id]
        group: Group = self.run(self.gateways[gateway].settled(self.store.app, group_id))
        if team.untold is not None:
            record, to, gone = team.untold
            team.untold = None
            for user in to:
                self.inboxes[user].receive(record, self.now)
            team.removed.update(dict.fromkeys(gone, team.version))
        assert (group.version, set(group.members)) == (team.version, team.members)
        team.seen.append(group)
        return group

    def change(
        self, group_id: str, gateway: int, change: Change, before: Group | None, told: bool
    ) -> None:
        """A gateway changes the group; and tells it, or dies before it can."""
        team = self.teams[group_id]
        team.version = before.version + 1 if before is not None else self.now
        old, record = set(team.members), self.record()
        gone = {user for user, member in change.members.items() if member is None}
        team.members = (old | change.members.keys()) - gone
        assert self.run(
            self.gateways[gateway].change(
                self.store.app, group_id, before, change, Notice(team.version, record[:16], record)
            )
        )
        team.untold = (record, sorted(old | team.members), gone)
        if told:
            self.settle(group_id, gateway)

    @initialize()
    def there_is_a_group(self) -> None:
        self.a_group_is_made(set(USERS), 0, told=True)

    @precondition(lambda self: len(self.teams) < GROUPS)
    @rule(members=st.sets(users, min_size=1), gateway=st.integers(0, 1), told=st.booleans())
    def a_group_is_made(self, members: set[str], gateway: int, told: bool) -> None:
        group_id = f"{len(self.teams):032x}"
        self.teams[group_id] = Team(0, set())
        places: dict[str, Member | None] = dict.fromkeys(members, Member("member"))
        places[min(members)] = Member("owner")
        change = Change(sealed_name=b"name", muted=False, members=places)
        self.change(group_id, gateway, change, None, told)

    @rule(
        data=st.data(),
        changed=st.sets(users, min_size=1),
        gateway=st.integers(0, 1),
        told=st.booleans(),
    )
    def users_come_or_go(
        self, data: st.DataObject, changed: set[str], gateway: int, told: bool
    ) -> None:
        """Who is in the group goes, who is not comes; the owner stays (HP-11.4-4)."""
        group_id = data.draw(st.sampled_from(sorted(self.teams)))
        before = self.settle(group_id, gateway)
        places = {
            user: None if user in before.members else Member("member")
            for user in sorted(changed)
            if before.members.get(user) != Member("owner")
        }
        self.change(group_id, gateway, Change(members=places), before, told)

    @rule(data=st.data(), gateway=st.integers(0, 1), stale=st.booleans(), again=st.booleans())
    def a_message_is_sent_to_a_group(
        self, data: st.DataObject, gateway: int, stale: bool, again: bool
    ) -> None:
        """By the list as it is, or by one that a gateway read before it was stopped: most telling
        where somebody on it was removed since. Or one is repeated whose answer was lost: it adds
        nothing, whoever came or went meanwhile.
        """
        group_id = data.draw(st.sampled_from(sorted(self.teams)))
        team = self.teams[group_id]
        if stale and team.seen:
            missed = [each for each in team.seen if team.hears(each) != each.members.keys()]
            group = data.draw(st.sampled_from(missed or team.seen))
        else:
            group = self.settle(group_id, gateway)
            assert team.hears(group) == team.members
        sent = Sent(sorted(group.members), self.now, self.record(), group_id)
        self.run(self.deliver(group.audience, sent.record, group.version))
        self.sent.append(sent)
        self.by_list.append((group, sent.record))
        for user in team.hears(group):
            self.inboxes[user].receive(sent.record, self.now)
        if again:
            group, record = data.draw(st.sampled_from(self.by_list))
            self.run(self.deliver(group.audience, record, group.version))

    async def deliver(self, audience: Audience, record: bytes, version: int | str) -> None:
        app = self.store.app
        await self.store.inboxes.deliver_to(
            app.id, app.tier, audience, NewMessage(record[:16], record, self.now), version=version
        )

    # -- what is always so -------------------------------------------------------------------------

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        for user, model in self.inboxes.items():
            held = [(m.seq, m.ms) for m in model.messages if not m.gone]
            assert self.store.inbox(user) == held

    @invariant()
    def what_can_be_read_is_within_its_time(self) -> None:
        for user, model in self.inboxes.items():
            entries = self.run(self.store.page(user))
            assert [(e.seq, e.record) for e in entries] == [
                (m.seq, m.record) for m in model.readable(self.now, self.retention)
            ]

    @invariant()
    def the_due_list_is_never_late(self) -> None:
        """But by what a clock was set back: reading goes by the clock, whatever the list says."""
        for user, model in self.inboxes.items():
            first = next((m for m in model.messages if not m.gone), None)
            due = self.store.due(user)
            assert (due is None) == (self.store.meta(user) == {})
            if first is not None:
                assert due is not None
                assert due <= first.ms + self.retention + self.set_back

    @invariant()
    def every_device_stands_where_it_should(self) -> None:
        for user, model in self.inboxes.items():
            stands = {
                name[2:]: int(value.split()[0].partition("-")[2])
                for name, value in self.store.meta(user).items()
                if name.startswith("d:")
            }
            assert stands == {name: d.acked for name, d in model.devices.items()}
