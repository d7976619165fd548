"""Changing a message where it stands: what stays, what goes, and what happens meanwhile."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from homeport.frames import Cursor

from gateway.redis.scripts import SCRIPTS
from gateway.store import replacing as module
from gateway.store.entries import NewMessage
from gateway.store.keys import bucket_of
from gateway.store.log import LogStore
from gateway.store.replacing import AT_ONCE, Changed, Found, RewriteStore
from tests.gateway.store.conftest import Store, message_id

GROUP = "0" * 32
TALK = f"g:{GROUP}"
LONG = 2 * AT_ONCE + 300


def made(size: int = 24) -> tuple[bytes, bytes]:
    """A message id, and a record of it that is like no other."""
    mid = message_id()
    return mid, mid + secrets.token_bytes(size)


def change(mid: bytes, number: int = 1, at_ms: int = 0, final: bool = False) -> Changed:
    """What a message becomes."""
    return Changed(mid, at_ms, mid + secrets.token_bytes(24), number, final)


async def deliver(store: Store, user: str, how_many: int, size: int = 24) -> list[bytes]:
    """Store messages in one inbox; returns their records."""
    messages = [made(size) for _ in range(how_many)]
    await asyncio.gather(*(store.deliver(user, record=r, mid=mid) for mid, r in messages))
    return [record for _, record in messages]


def logs_of(store: Store) -> LogStore:
    """The logs of a region in which the group of `TALK` is."""
    store.raw.hset(store.keys.group(store.app.id, GROUP).state, "v", "1")
    return LogStore(store.link, store.keys)


async def keep(store: Store, how_many: int) -> list[bytes]:
    """Keep messages in a conversation's log, the last 400 of them now; returns their records."""
    logs, messages = logs_of(store), [made() for _ in range(how_many)]
    store.clock.advance(10)
    await asyncio.gather(
        *(
            logs.add(
                store.app.id,
                store.app.tier,
                NewMessage(mid, record, store.clock.ms - 10_000 * (at < how_many - 400), TALK),
            )
            for at, (mid, record) in enumerate(messages)
        )
    )
    return [record for _, record in messages]


def stream(store: Store, key: str) -> list[tuple[bytes, list[Any]]]:
    """The ids and fields of a stream, in their order."""
    found: Any = store.raw.xrange(key)
    return [(entry_id, [x for pair in fields.items() for x in pair]) for entry_id, fields in found]


def inbox(store: Store, user: str) -> str:
    """The key of an inbox."""
    return store.keys.user(store.app.id, user).inbox


async def spread(store: Store, users: list[str], changed: Changed) -> None:
    """Change a message of `TALK` everywhere."""
    audience = store.inboxes.audience(store.app.id, users)
    await RewriteStore(store.link, store.keys).spread(store.app.id, TALK, audience, changed)


async def found(store: Store, record: bytes, users: tuple[str, ...] = ()) -> Found | None:
    """Look for a message that was sent now."""
    now, mid = store.clock.ms, record[:16]
    return await RewriteStore(store.link, store.keys).find(store.app, TALK, users, mid, now, now)


@pytest.mark.parametrize("size", [8, 200, 5000])
@pytest.mark.parametrize(("length", "at"), [(1, 0), (100, 0), (300, 150), (300, 299), (900, 5)])
async def test_the_old_bytes_are_gone(store: Store, length: int, at: int, size: int) -> None:
    """HP-13.4-1, HP-13.4-2, G3: in blocks of any filling; every other entry is as it was."""
    store.use_tier("pro")
    records = await deliver(store, "ann", length, size)
    before = stream(store, inbox(store, "ann"))
    changed = change(records[at][:16], 3, store.clock.ms)
    await spread(store, ["ann"], changed)
    after = stream(store, inbox(store, "ann"))
    assert [entry_id for entry_id, _ in after] == [entry_id for entry_id, _ in before]
    assert after[at][1] == [b"m", changed.record, b"e", b"3"]
    del before[at], after[at]
    assert after == before
    assert not store.holds(records[at][16:])
    assert (await store.deliver("ann")) == store.clock.ms
    assert store.inbox("ann")[-1][0] == length + 1


@pytest.mark.parametrize("left", [0, 1, 50])
async def test_acknowledged_bytes_are_gone_too(store: Store, left: int) -> None:
    """HP-13.4-1: Redis keeps what was trimmed inside a block; a recall does not."""
    records = await deliver(store, "ann", 60)
    await deliver(store, "ann", left)
    epoch = (await store.attach("ann")).cursor.epoch
    await store.ack("ann", Cursor(epoch, store.clock.ms, 60))
    assert len(store.inbox("ann")) == left
    assert store.holds(records[30][16:]) is (left > 0)
    store.clock.advance(100)
    await spread(store, ["ann"], change(records[30][:16], at_ms=store.clock.ms - 100_000))
    assert not store.holds(records[30][16:])
    assert [seq for seq, _ in store.inbox("ann")] == list(range(61, 61 + left))


async def test_an_earlier_change_never_undoes_a_later_one(store: Store) -> None:
    """HP-13.4-9: whatever comes when, in an inbox and in a log."""
    mid, record = made()
    await store.deliver("ann", record=record, mid=mid)
    logs = logs_of(store)
    await logs.add(store.app.id, store.app.tier, NewMessage(mid, record, store.clock.ms, TALK))
    log = store.keys.log(store.app.id, TALK).log
    for number, stays in ((2, 2), (1, 2), (2, 2), (11, 11), (10, 11)):
        await spread(store, ["ann"], change(mid, number, store.clock.ms))
        for key in (inbox(store, "ann"), log):
            ((_, fields),) = stream(store, key)
            assert fields[2:] == [b"e", b"%d" % stays]


@pytest.mark.parametrize("length", [10, LONG])
async def test_a_swap_goes_by_what_is_expected(store: Store, length: int) -> None:
    """HP-13.4-7: of two changes of the same state one is made, also of a long log."""
    records = await keep(store, length)
    record = records[-5]
    there = await found(store, record)
    assert there is not None
    assert there.entry.record == record
    replacing, mid = RewriteStore(store.link, store.keys), record[:16]
    first, second = change(mid, 1, store.clock.ms), change(mid, 1, store.clock.ms)
    made_ = await asyncio.gather(
        replacing.swap(there.where, first, 0), replacing.swap(there.where, second, 0)
    )
    assert sorted(made_) == [False, True]
    there = await found(store, record)
    assert there is not None
    assert there.entry.record == (first if made_[0] else second).record
    assert not await replacing.swap(there.where, change(mid, 3, store.clock.ms), 2)
    assert await replacing.swap(there.where, change(mid, 2, store.clock.ms), 1)
    assert not store.holds(record[16:])


async def test_a_long_log_is_copied(store: Store) -> None:
    """HP-13.4-1, HP-13.4-2: in slices; the old bytes are gone, and the log goes on."""
    records = await keep(store, LONG)
    keys = store.keys.log(store.app.id, TALK)
    before = stream(store, keys.log)
    changed = change(records[-200][:16], 1, store.clock.ms)
    await spread(store, [], changed)
    after = stream(store, keys.log)
    assert after[-200] == (before[-200][0], [b"m", changed.record, b"e", b"1"])
    del before[-200], after[-200]
    assert after == before
    assert not store.holds(records[-200][16:])
    assert store.raw.pttl(keys.log) == -1
    assert store.raw.keys(f"{keys.log}:*") == []
    await keep(store, 1)
    assert stream(store, keys.log)[-1][0].endswith(b"-%d" % (LONG + 1))


def _append(store: Store, key: str, others: list[bytes]) -> None:
    top: Any = store.raw.xrevrange(key, count=1)
    ms, _, seq = top[0][0].partition(b"-")
    store.raw.xadd(key, {"m": others.pop()}, id=b"%b-%d" % (ms, int(seq) + 1))


def _trim(store: Store, key: str, others: list[bytes]) -> None:
    store.raw.xtrim(key, maxlen=store.raw.xlen(key) - 7, approximate=False)


def _hole(store: Store, key: str, others: list[bytes]) -> None:
    entries: Any = store.raw.xrange(key, count=20)
    store.raw.xdel(key, entries[-1][0])


def _all_gone(store: Store, key: str, others: list[bytes]) -> None:
    store.raw.delete(key, store.keys.log(store.app.id, TALK).meta)


@pytest.mark.parametrize("meanwhile", [_append, _trim, _hole, _all_gone])
@pytest.mark.parametrize("slice_", [2, 3])
async def test_what_happens_while_a_log_is_copied(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[[Store, str, list[bytes]], None],
    slice_: int,
) -> None:
    """HP-13.4-2, G1: what comes is in the copy, what goes is not, between any two slices."""
    records = await keep(store, LONG)
    key, calls, run = store.keys.log(store.app.id, TALK).log, count(1), store.link.run

    def slowly(script: Any, *arguments: Any, **options: Any) -> Any:
        if script is SCRIPTS["copy"] and next(calls) == slice_:
            meanwhile(store, key, [made()[1]])
            expected.extend(entry_id for entry_id, _ in stream(store, key))
        return run(script, *arguments, **options)

    expected: list[bytes] = []
    monkeypatch.setattr(store.link, "run", slowly)
    changed = change(records[-200][:16], 1, store.clock.ms)
    await spread(store, [], changed)
    after = stream(store, key)
    assert [entry_id for entry_id, _ in after] == expected
    assert [fields[1] for _, fields in after if len(fields) > 2] == [changed.record] * bool(after)
    assert not store.holds(records[-200][16:])
    if meanwhile is not _all_gone:
        assert store.raw.keys(f"{key}:*") == []
    # Only a hole is a reason to begin anew: a log that is swept would never be done.
    assert next(calls) - 1 <= (6 if meanwhile is _hole else 3)


async def test_another_change_while_a_log_is_copied(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-13.4-1: two copies of one log are made; neither brings back what the other took out."""
    records = await keep(store, LONG)
    calls, run = count(1), store.link.run
    one = change(records[-400][:16], 1, store.clock.ms)
    two = change(records[900][:16], 1, store.clock.ms - 10_000)  # in a slice copied already
    other: list[asyncio.Task[None]] = []

    def slowly(script: Any, *arguments: Any, **options: Any) -> Any:
        async def later() -> Any:
            if next(calls) == 3:  # of another gateway, which has a lock of its own
                await spread(store, [], two)
            return await run(script, *arguments, **options)

        if script is SCRIPTS["copy"] and not other:
            return asyncio.ensure_future(later())
        return run(script, *arguments, **options)

    monkeypatch.setattr(store.link, "run", slowly)
    await spread(store, [], one)
    after = {fields[1] for _, fields in stream(store, store.keys.log(store.app.id, TALK).log)}
    assert {one.record, two.record} <= after
    assert len(after) == LONG
    assert not store.holds(records[-400][16:])
    assert not store.holds(records[900][16:])


async def test_a_copy_that_nobody_goes_on_with_goes_by_itself(
    one_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: the gateway died between two slices; the log is as it was."""
    records = await keep(one_store, LONG)
    key, run = one_store.keys.log(one_store.app.id, TALK).log, one_store.link.run
    before = stream(one_store, key)

    def dies(script: Any, *arguments: Any, **options: Any) -> Any:
        if script is SCRIPTS["copy"] and one_store.raw.keys(f"{key}:*"):
            raise asyncio.CancelledError
        return run(script, *arguments, **options)

    monkeypatch.setattr(one_store.link, "run", dies)
    with pytest.raises(asyncio.CancelledError):
        await spread(one_store, [], change(records[-200][:16], 1, one_store.clock.ms))
    (copy,) = one_store.raw.keys(f"{key}:*")
    assert 0 < one_store.raw.pttl(copy) <= module.COPY_MS
    assert stream(one_store, key) == before


@pytest.mark.parametrize("final", [True, False], ids=["recall", "edit"])
async def test_a_long_inbox(store: Store, final: bool) -> None:
    """HP-13.4-10, G3, G5: a recalled message is taken out, an edited one stays; the rest stays."""
    store.use_tier("pro")
    records = await deliver(store, "ann", AT_ONCE + 1)
    before = stream(store, inbox(store, "ann"))
    group = ["ann", *(f"u{number}" for number in range(module.COPIED))]
    changed = change(records[-300][:16], 11, store.clock.ms - 5, final)
    await spread(store, group, changed)
    if final:
        assert stream(store, inbox(store, "ann")) == [*before[:-300], *before[-299:]]
        return
    assert stream(store, inbox(store, "ann")) == before
    # One that is less is worth a copy.
    await spread(store, group[1:], changed)
    assert stream(store, inbox(store, "ann")) == before
    await spread(store, group[:-1], changed)
    before[-300] = (before[-300][0], [b"m", changed.record, b"e", b"11"])
    assert stream(store, inbox(store, "ann")) == before
    assert not store.holds(records[-300][16:])


async def test_many_inboxes_of_a_bucket_take_several_calls(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: however many there are, no script writes more than so many entries anew."""
    wanted = bucket_of(store.app.id, "ann")
    users = [u for n in range(2000) if bucket_of(store.app.id, u := f"u{n}") == wanted][:6]
    mid, record = made()
    for user in users:
        await deliver(store, user, 400)
    await store.deliver(*users, record=record, mid=mid)
    run, calls = store.link.run, []

    def counted(script: Any, keys: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(len(keys) // 2)
        return run(script, keys, *arguments, **options)

    monkeypatch.setattr(store.link, "run", counted)
    changed = change(mid, 1, store.clock.ms)
    await spread(store, users, changed)
    assert calls == [1, 6, 4, 2]
    for user in users:
        assert stream(store, inbox(store, user))[-1][1][1] == changed.record
    assert not store.holds(record[16:])


async def test_a_final_change_leaves_a_mark(store: Store) -> None:
    """HP-13.4-9: where the message never came to, and where its mark is over, it can't come."""
    mid, record = made()
    await spread(store, ["ann"], change(mid, 1, store.clock.ms))
    await spread(store, ["bob"], change(mid, 11, store.clock.ms, final=True))
    await store.deliver("ann", record=record, mid=mid)
    await store.deliver("bob", record=record, mid=mid)
    assert (len(store.inbox("ann")), len(store.inbox("bob"))) == (1, 0)


async def test_where_a_message_is_looked_for(store: Store) -> None:
    """HP-13.4-5: near its time, in the log first; not what is past its time or its own."""
    store.use_tier("pro")
    (record,) = await deliver(store, "bob", 1)
    assert await found(store, record) is None
    there = await found(store, record, ("ann", "bob"))
    assert there is not None
    assert there.where.stream == inbox(store, "bob")
    logs = logs_of(store)
    await logs.add(
        store.app.id, store.app.tier, NewMessage(record[:16], record, store.clock.ms, TALK)
    )
    there = await found(store, record, ("bob",))
    assert there is not None
    assert there.where.stream == store.keys.log(store.app.id, TALK).log
    store.clock.advance(store.app.tier.retention_ms / 1000)
    now = store.clock.ms
    replacing = RewriteStore(store.link, store.keys)
    for at_ms, expected in ((now - store.app.tier.retention_ms, False), (0, False)):
        kept = await replacing.find(store.app, TALK, ("bob",), record[:16], at_ms, now)
        assert (kept is not None) is expected
    mid, record = made()
    await logs.add(
        store.app.id, store.app.tier, NewMessage(mid, record, now, TALK, expires_ms=now + 5)
    )
    assert await found(store, record) is not None
    store.clock.advance(0.005)
    assert await found(store, record) is None
