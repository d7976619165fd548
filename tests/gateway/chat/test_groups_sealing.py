"""Groups: what is sealed, and where it opens."""

from __future__ import annotations

from typing import Any

from tests.gateway.chat.grouping import created, done, refused, said
from tests.harness import RunningWorker


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
