"""An inbox against a model in plain Python: whatever happens, in whatever order, they agree.

The model knows nothing of streams, cursors in Redis or due lists. It is a list of messages, and for
each device how far it has got.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.apps.tiers import TIERS
from gateway.security.keyring import Keyring
from gateway.store.inbox import PROFILE_MS, Attached
from protocol.frames import Cursor
from tests.gateway.store.conftest import APP_ID, Store, open_store

CAP = 6
DEVICES = ("a", "b", "c")
USER = "ann"


@dataclass
class Message:
    """One message. `gone` says why nobody needs it any more, or can have it."""

    seq: int
    ms: int
    record: bytes
    gone: str = ""


@dataclass
class Device:
    """`acked` is what the server knows; `cursor` is what the client keeps."""

    acked: int
    seen: int
    cursor: Cursor


@dataclass
class Model:
    """What one user's inbox must be like."""

    messages: list[Message] = field(default_factory=list)
    devices: dict[str, Device] = field(default_factory=dict)
    epoch: str = ""
    all_acked: int = 0
    last_used: int = 0

    @property
    def top(self) -> int:
        return len(self.messages)

    def readable(self, now: int, retention: int) -> list[Message]:
        return [m for m in self.messages if not m.gone and m.ms + retention > now]


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
        self.model = Model()
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
        self.store.use_tier(name, inbox_cap=CAP)

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
        self.store.clock.now = round(self.store.clock.now - seconds, 3)

    @rule(count=st.integers(1, 4))
    def messages_arrive(self, count: int) -> None:
        for _ in range(count):
            seq = self.model.top + 1
            last = self.model.messages[-1].ms if self.model.messages else 0
            message = Message(seq, max(last, self.now), b"%d" % seq)
            self.run(self.store.fill(USER, 1))
            self.model.messages.append(message)
            held = [m for m in self.model.messages if not m.gone]
            for over in held[:-CAP]:
                over.gone = "cap"

    @rule(device=st.sampled_from(DEVICES), own_cursor=st.booleans())
    def a_device_connects(self, device: str, own_cursor: bool) -> None:
        model, known = self.model, self.model.devices.get(device)
        acked = known.acked if known else model.all_acked
        cursor = known.cursor if known and own_cursor else None
        valid = cursor is not None and cursor.epoch == model.epoch
        start = cursor.seq if cursor is not None and valid else acked
        attached: Attached = self.run(self.store.attach(USER, device, device, cursor))
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
        if valid and start and not model.messages[start - 1].gone:
            acked = max(acked, start)
        self.model.devices[device] = Device(acked, self.now, attached.cursor)
        model.last_used = max(model.last_used, self.now)

    @precondition(lambda self: self.model.devices)
    @rule(data=st.data(), closing=st.booleans())
    def a_device_acknowledges(self, data: st.DataObject, closing: bool) -> None:
        """Something it was given, or, late, something it had acknowledged before."""
        model = self.model
        name = data.draw(st.sampled_from(sorted(model.devices)))
        device = model.devices[name]
        given = [
            Cursor(model.epoch, m.ms, m.seq)
            for m in model.readable(self.now, self.retention)
            if m.seq > device.cursor.seq
        ]
        cursor = data.draw(st.sampled_from([device.cursor, *given]))
        self.run(self.store.ack(USER, cursor, name, name, closing))
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
                await admin.set_tier(APP_ID, tier, self.now)

        self.run(change())
        self.set_tier(tier)

    @rule()
    def the_sweeper_comes(self) -> None:
        model = self.model
        over = [m for m in model.messages if not m.gone and m.ms + self.retention <= self.now]
        due = self.store.due(USER)
        visited = due is not None and due <= self.now
        assert self.run(self.sweeper.sweep()) == len(over)
        for message in over:
            message.gone = "age"
        late = [n for n, d in model.devices.items() if d.seen + self.retention <= self.now]
        if not visited:  # a device's time may come later by what a clock was set back
            late = []
        kept = self.store.devices(USER)
        assert kept == model.devices.keys() - set(late)
        for name in late:
            del model.devices[name]
        last_ms = model.messages[-1].ms if model.messages else 0
        idle_since = max(model.last_used, last_ms)
        waiting = any(not m.gone for m in model.messages)
        if visited and not model.devices and not waiting and idle_since + PROFILE_MS <= self.now:
            self.model = Model()
            assert self.store.meta(USER) == {}

    # -- what is always so -------------------------------------------------------------------------

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        held = [(m.seq, m.ms) for m in self.model.messages if not m.gone]
        assert self.store.inbox(USER) == held

    @invariant()
    def what_can_be_read_is_within_its_time(self) -> None:
        entries = self.run(self.store.page(USER))
        assert [e.seq for e in entries] == [
            m.seq for m in self.model.readable(self.now, self.retention)
        ]

    @invariant()
    def the_due_list_is_never_late(self) -> None:
        first = next((m for m in self.model.messages if not m.gone), None)
        due = self.store.due(USER)
        assert (due is None) == (self.store.meta(USER) == {})
        if first is not None:
            assert due is not None
            assert due <= first.ms + self.retention

    @invariant()
    def every_device_stands_where_it_should(self) -> None:
        meta = self.store.meta(USER)
        stands = {
            name[2:]: int(value.split()[0].partition("-")[2])
            for name, value in meta.items()
            if name.startswith("d:")
        }
        assert stands == {name: d.acked for name, d in self.model.devices.items()}


def test_the_inbox_agrees_with_the_model(store_url: str) -> None:
    """G3, G4, G5, HP-7.2-1, HP-7.2-4, HP-7.2-6, HP-7.2-7, HP-7.3-1, HP-7.4-1, HP-7.4-2."""
    with tempfile.TemporaryDirectory() as folder:
        Machine.url = store_url
        Machine.keyring = Keyring.create(Path(folder) / "keys.json", "sg")
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=15,
                phases=[Phase.generate],  # to shrink a failure takes minutes
                stateful_step_count=40,
                derandomize=True,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_the_models_tiers_are_far_enough_apart() -> None:
    """The steps of time in the machine cross the shortest two tiers' times."""
    assert TIERS["free"].retention_ms == 3 * 86_400_000
    assert TIERS["basic"].retention_ms == 7 * 86_400_000
