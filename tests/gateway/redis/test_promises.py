"""Mirrors gateway/redis/promises.py."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.redis.errors import CommandFault
from gateway.redis.promises import (
    BROKEN,
    DURABILITY,
    EVICTION,
    KEPT,
    UNKNOWN,
    Condition,
    Promises,
    condition_of,
    look,
    problem,
)

GOOD = Condition(append_only=True, append_fsync="always", eviction="noeviction")


@pytest.mark.parametrize(
    ("promises", "condition", "broken"),
    [
        (Promises(), Condition(eviction="noeviction"), ""),
        (Promises(), Condition(eviction="allkeys-lru"), EVICTION),
        (Promises(allow_eviction=True), Condition(eviction="allkeys-lru"), ""),
        (Promises(), Condition(), ""),  # it can't be seen, and nobody asked for it by name
        (Promises(fsync=True), GOOD, ""),
        (Promises(fsync=True), Condition(True, "everysec", "noeviction"), DURABILITY),
        (Promises(fsync=True), Condition(False, "always", "noeviction"), DURABILITY),
        (Promises(fsync=True), Condition(True, None, "noeviction"), DURABILITY),
        (Promises(fsync=True), Condition(None, "always", "noeviction"), DURABILITY),
        (Promises(), Condition(False, "no", "noeviction"), ""),
    ],
)
def test_which_promise_a_server_breaks(
    promises: Promises, condition: Condition, broken: str
) -> None:
    """G1: what `durability` asks for must be seen; of a policy only a wrong one counts."""
    assert promises.broken(condition) == broken


def test_how_each_setting_stands() -> None:
    """For the metric: as it should be, not to be seen, or wrong."""
    condition = Condition(append_only=None, append_fsync="no", eviction="allkeys-lru")
    assert Promises(fsync=True).settings(condition) == {
        "appendonly": UNKNOWN,
        "appendfsync": BROKEN,
        "maxmemory-policy": BROKEN,
    }
    assert set(Promises(fsync=True).settings(GOOD).values()) == {KEPT}


@pytest.mark.parametrize(
    ("broken", "condition", "texts"),
    [
        (EVICTION, Condition(eviction="allkeys-lru"), ["allkeys-lru", "noeviction"]),
        (DURABILITY, Condition(True, "everysec"), ["appendonly yes", "everysec", "always"]),
        (DURABILITY, Condition(False, None), ["appendonly no", "allow CONFIG GET"]),
    ],
)
def test_a_problem_says_what_is_and_what_to_do(
    broken: str, condition: Condition, texts: list[str]
) -> None:
    """An operator reads it as the gateway refuses to start."""
    said = problem(broken, condition)
    assert all(text in said for text in texts), said


def test_a_condition_is_what_info_says() -> None:
    """Redis' own names; what a server leaves out is not known, or no limit."""
    found = {
        "aof_enabled": "1",
        "maxmemory_policy": "noeviction",
        "used_memory": "50",
        "maxmemory": "200",
        "aof_last_write_status": "err",
        "rdb_last_bgsave_status": "ok",
    }
    condition = condition_of(found, "always")
    assert condition == Condition(True, "always", "noeviction", 50, 200, False, True)
    assert condition.used_share == 0.25
    assert condition_of({}, None) == Condition()
    assert Condition(used_bytes=5).used_share == 0.0


async def test_a_server_is_asked_what_the_user_may_ask() -> None:
    """A managed Redis forbids CONFIG, or all of it; a right that is taken away meanwhile too."""
    asked: list[tuple[Any, ...]] = []

    async def ask(*words: Any) -> Any:
        asked.append(words)
        if words[0] == "CONFIG":
            return [b"appendfsync", b"always"]
        if words[1] == "memory":
            return b"# Memory\r\nmaxmemory_policy:noeviction\r\n"
        return b"aof_enabled:1\r\n"

    assert await look(ask, {"INFO", "CONFIG"}) == GOOD
    assert await look(ask, {"INFO"}) == Condition(append_only=True, eviction="noeviction")
    asked.clear()
    assert await look(ask, set()) == Condition()
    assert asked == []

    async def forbidden(*words: Any) -> Any:
        if words[0] == "CONFIG":
            return [b"appendfsync", b"always"]
        raise CommandFault("NOPERM")

    assert await look(forbidden, {"INFO", "CONFIG"}) == Condition(append_fsync="always")
