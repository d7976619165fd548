"""How evenly buckets spread over primaries, against what a large group costs: ``python -m
bench.buckets``.

A bucket is one hash tag, so one of 16,384 slots; a cluster deals slots to its primaries in ranges
of
equal size. The load of a primary is the number of its buckets, over the mean. A message to a
group is one
script for each bucket that has members: the cost of a script itself, and that of an inbox, are
those that
``bench.conversations`` measured.

Tags are the buckets' numbers (``numbered``), or the smallest numbers whose slots are spread evenly
(``spread``): of B buckets, the one for each range of 16,384 / B slots.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections import Counter
from typing import Final

from gateway.redis.slots import SLOTS, slot_of

COUNTS: Final = (64, 128, 256, 512, 1024, 2048, 4096)
PRIMARIES: Final = (3, 5, 6, 7, 12, 16, 24, 32, 48, 64)


def numbered(buckets: int) -> list[int]:
    """The slots of tags that are the buckets' numbers."""
    return [slot_of(f"{{{bucket}}}") for bucket in range(buckets)]


def spread(buckets: int) -> list[int]:
    """The slots of the smallest numbers that fall, one each, into the ranges of equal size."""
    found: dict[int, int] = {}
    for tag in itertools.count():
        slot = slot_of(f"{{{tag}}}")
        found.setdefault(slot * buckets // SLOTS, slot)
        if len(found) == buckets:
            return list(found.values())
    raise AssertionError


def busiest(slots: list[int], primaries: int) -> float:
    """The part of the busiest primary, over the mean."""
    held = Counter(slot * primaries // SLOTS for slot in slots)
    return max(held.values()) * primaries / len(slots)


def scripts(buckets: int, members: int) -> float:
    """How many buckets hold at least one of so many members, on average."""
    return buckets * (1 - (1 - 1 / buckets) ** members)


def main() -> None:
    """Compute, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script-us", type=float, default=5.0, help="a script itself")
    parser.add_argument("--inbox-us", type=float, default=4.0, help="an inbox in it")
    given = parser.parse_args()
    print("busiest primary, over the mean; scripts and Redis us of a message to a group")
    for how in (numbered, spread):
        print(
            f"{how.__name__:8} "
            + " ".join(f"{n:>4}" for n in PRIMARIES)
            + " mean | 100 1,000 5,000"
        )
        for buckets in COUNTS:
            slots = how(buckets)
            parts = [busiest(slots, primaries) for primaries in PRIMARIES]
            costs = []
            for members in (100, 1000, 5000):
                count = scripts(buckets, members)
                spent = count * given.script_us + members * given.inbox_us
                costs.append(f"{count:5.0f} {spent / 1000:5.1f} ms")
            row = " ".join(f"{part:4.2f}" for part in parts)
            print(f"{buckets:8} {row} {statistics.mean(parts):.2f} | " + "  ".join(costs))


if __name__ == "__main__":
    main()
