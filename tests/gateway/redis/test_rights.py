"""Mirrors gateway/redis/rights.py. Users of a real Redis are in tests/gateway/store/."""

from __future__ import annotations

from gateway.redis.rights import WAIT, Needed, Rights, arguments, missing

RIGHTS = Rights("key", "GET KEY; SCRIPT EXISTS sha", (("HSET", "other", "f", "v"),))


def test_what_must_be_allowed_follows_from_what_is_said_and_where() -> None:
    """Each command once, by the name that an operator would give it a right with."""
    names = [each.name for each in RIGHTS.needed()]
    assert {"SPUBLISH", "EVALSHA", "SCRIPT LOAD", "PING", "HELLO", "GET", "SCRIPT EXISTS"} < set(
        names
    )
    assert "HSET on other" in names
    assert WAIT not in RIGHTS.needed()
    assert WAIT in RIGHTS.needed(replicas=True)
    assert {"CLUSTER NODES", "CLUSTER MYID", "ASKING"} <= {
        each.name for each in RIGHTS.needed(cluster=True)
    }
    assert Needed(("GET", "key"), "GET", keyed=True) in RIGHTS.needed()


def test_a_right_that_is_missing_is_named_once() -> None:
    """Redis counts from 1."""
    needed = [
        Needed(("GET", "k"), "GET", keyed=True),
        Needed(("SET", "k", "v"), "SET", keyed=True),
        Needed(("PING",), "PING", keyed=False),
        Needed(("GET", "k", "2"), "GET", keyed=True),
    ]
    assert missing(needed, []) == []
    assert missing(needed, [b"1", b"3", b"4"]) == ["GET", "PING"]
    assert arguments([each.words for each in needed[:2]]) == ["GET\nk", "SET\nk\nv"]


def test_where_no_key_at_all_is_allowed_that_is_said_instead() -> None:
    """A list of thirty commands would hide what is wrong: the pattern of the keys."""
    needed = [
        Needed(("GET", "k"), "GET", keyed=True),
        Needed(("SET", "k", "v"), "SET", keyed=True),
        Needed(("PING",), "PING", keyed=False),
    ]
    everything = "any command on its region's keys and channels"
    assert missing(needed, [1, 2]) == [everything]
    assert missing(needed, [1, 2, 3]) == [everything, "PING"]
