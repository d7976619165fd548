"""What the nodes of a cluster say, and what is made of it where they disagree."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

from gateway.redis.slots import (
    BUCKET_SLOTS,
    BUCKET_TAGS,
    BUCKETS,
    SLOTS,
    Claim,
    Node,
    SlotMap,
    parse_nodes,
    slot_of,
)
from gateway.store.keys import Keys

A, B, C = (Node(name * 40, f"10.0.0.{number}", 6379) for number, name in enumerate("abc", 1))
HALF = SLOTS // 2


def claim(node: Node, epoch: int, *ranges: tuple[int, int]) -> Claim:
    """What is said of a primary."""
    return Claim(node, epoch, ranges)


def test_the_slot_is_redis_own() -> None:
    """Redis Cluster specification, "Keys distribution model": CRC16("123456789") is 0x31C3; of a
    key with a hash tag only the tag counts."""
    assert slot_of("123456789") == 0x31C3
    assert slot_of("hp:sg:{123456789}:inbox:a:ann") == 0x31C3
    keys, inbox = Keys("sg").user("a", "ann"), Keys("sg").inbox("a", "ann")
    names = (keys.meta, keys.due, keys.blocks, keys.blocked_by, keys.closes, keys.channel)
    slots = {slot_of(name) for name in (*names, inbox.refs, inbox.rows)}
    assert slots == {BUCKET_SLOTS[keys.bucket]}


def test_buckets_are_spread_over_the_slots() -> None:
    """256 partitions: of primaries with even slots none has more than an eighth over its share.

    Buckets whose tags were their own numbers gave one of 64 twice its share.
    """
    assert len(set(BUCKET_SLOTS)) == BUCKETS
    for primaries in (3, 5, 6, 7, 12, 16, 24, 32, 48, 64):
        each = Counter(slot * primaries // SLOTS for slot in BUCKET_SLOTS)
        assert len(each) == primaries
        assert max(each.values()) <= 1.125 * BUCKETS / primaries


def test_the_tags_of_buckets_never_change() -> None:
    """G4: what an older gateway stored is looked for under the same tags by a newer one."""
    assert sha256(repr(BUCKET_TAGS).encode()).hexdigest().startswith("1e1d386a76ff35b4")


def test_an_answer_is_read() -> None:
    """Addresses, names, slots alone and in ranges; not replicas, and not slots on their way."""
    said = (
        f"{A.id} 10.0.0.1:6379@16379 myself,master - 0 0 7 connected 0-5 9 [12->-{B.id}]\n"
        f"{B.id} 10.0.0.2:6379@16379,node-b.example,shard-id=1 master - 0 1 3 connected 10-16383\n"
        f"{C.id} 10.0.0.3:6379@16379 slave {A.id} 0 1 7 connected\n"
    )
    named = Node(B.id, "node-b.example", 6379, "10.0.0.2")
    assert parse_nodes(said, "elsewhere") == [
        claim(A, 7, (0, 5), (9, 9)),
        claim(named, 3, (10, SLOTS - 1)),
    ]
    alone = f"{A.id} :6379@16379 myself,master - 0 0 0 connected 0-16383\n"
    assert parse_nodes(alone, "10.0.0.1") == [claim(A, 0, (0, SLOTS - 1))]


def test_a_failover_stands_against_the_view_of_the_old_primary() -> None:
    """G1: whoever was cut off goes on saying that it has the slots; the higher epoch has them."""
    slots = SlotMap()
    old = [claim(A, 1, (0, HALF - 1)), claim(B, 2, (HALF, SLOTS - 1))]
    assert slots.merge(old)
    assert not slots.merge(old)
    assert slots.merge([claim(C, 3, (0, HALF - 1)), claim(A, 1), claim(B, 2, (HALF, SLOTS - 1))])
    assert slots.nodes == {B, C}
    assert not slots.merge(old)
    assert slots.owners[0] == C


def test_a_moved_slot_stands_against_an_older_view() -> None:
    """The node that took it has a new epoch; who has not heard of that is not believed."""
    slots = SlotMap()
    old = [claim(A, 1, (0, HALF - 1)), claim(B, 2, (HALF, SLOTS - 1))]
    slots.merge(old)
    new = [claim(A, 1, (0, 9), (11, HALF - 1)), claim(B, 3, (10, 10), (HALF, SLOTS - 1))]
    assert slots.merge(new)
    assert (slots.owners[9], slots.owners[10], slots.owners[11]) == (A, B, A)
    assert not slots.merge(old)


def test_a_node_that_moved_house_is_another_place() -> None:
    """The same id at another address: connections go there."""
    slots = SlotMap()
    slots.merge([claim(A, 1, (0, SLOTS - 1))])
    there = Node(A.id, "10.9.9.9", 6379)
    assert slots.knows([claim(there, 1)])
    assert slots.merge([claim(there, 1, (0, SLOTS - 1))])
    assert slots.nodes == {there}
    assert not slots.knows([claim(B, 9, (0, SLOTS - 1))])
