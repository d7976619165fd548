"""Groups: what is sealed, and where it opens."""

from __future__ import annotations

from typing import Any

import pytest
from homeport import codec, frames

from gateway.apps.app import create_app
from gateway.security.sealing import Tampered
from tests.gateway.chat.grouping import created, done, refused, said
from tests.harness import FakeClock, RunningWorker


async def test_names_and_messages_are_sealed(running: RunningWorker, store: Any) -> None:
    """G7, HP-11.1-4: nothing in the store says what the group is called."""
    async with running.client("alice") as alice:
        group = await created(alice, "bob", name="Zanzibar")
        await done(alice, "rename", group, "Timbuktu")
        await said(alice, group, "Samarkand")
    dump = b""
    for key in store.scan_iter("*"):
        dump += key + (store.dump(key) or b"")
        kind = store.type(key)
        if kind == b"hash":
            dump += b"".join(k + v for k, v in store.hgetall(key).items())
        elif kind == b"stream":
            dump += b"".join(fields[b"m"] for _, fields in store.xrange(key))
    assert group.encode() in dump
    for word in (b"Zanzibar", b"Timbuktu", b"Samarkand"):
        assert word not in dump


async def test_a_name_that_was_moved_to_another_group_does_not_open(
    running: RunningWorker, store: Any
) -> None:
    """G6: a seal binds a name to its group; the connection is kept."""
    async with running.client("alice") as alice:
        first, second = await created(alice, name="a"), await created(alice, name="b")
        keys = {each: next(iter(store.scan_iter(f"*grp:*:{each}"))) for each in (first, second)}
        store.hset(keys[second], "n", store.hget(keys[first], "n"))
        store.hincrby(keys[second], "v", 1)
        assert await refused(alice, "get", second) == "internal"
        await done(alice, "get", first)


async def test_a_record_of_a_group_opens_in_its_own_app_only(
    running: RunningWorker, clock: FakeClock
) -> None:
    """G6: any inbox of the app, as members come and go; not with another app's name or id."""
    records = running.inside.records
    message = frames.Message(bytes(16), "alice", "g:" + "0" * 32, clock.ms, "text", b"x")
    record = records.make(running.app, message, message.to)
    assert records.open(running.app, "anyone", record) == codec.encode(message)
    other = create_app("other", "sg", "pro", "global", clock.ms)
    with pytest.raises(Tampered):
        records.open(other, "anyone", record)
    changed = record[:-1] + bytes([record[-1] ^ 1])
    with pytest.raises(Tampered):
        records.open(running.app, "anyone", changed)
    elsewhere = record.replace(b"g:" + b"0" * 32, b"g:" + b"1" * 32)
    with pytest.raises(Tampered):
        records.open(running.app, "anyone", elsewhere)
