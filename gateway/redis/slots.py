"""Which node of a cluster owns which slot, put together from what the nodes say.

Each node tells its view of all (CLUSTER NODES). Views differ while slots move, and that of a node
which was cut off goes on saying what was true before. So of each node the claim with the highest
configuration epoch is kept, and of two that claim a slot the one with the higher epoch owns it:
the rule that the nodes themselves go by (Redis Cluster specification, "Hash slots configuration
propagation").
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

from redis.crc import key_slot

SLOTS: Final = 16384
BUCKETS: Final = 256
"""Keys are named so that each lies in one of so many buckets, by its hash tag."""


class Node(NamedTuple):
    """A node: its id, which it keeps for life, and where it answers clients.

    `host` is the name it announces, or else its address; `address` is that, where it has a name.
    """

    id: str
    host: str
    port: int
    address: str = ""


class Claim(NamedTuple):
    """The slots that a primary says are its own, as (first, last), since `epoch`."""

    node: Node
    epoch: int
    ranges: tuple[tuple[int, int], ...]


def slot_of(key: str | bytes | int) -> int:
    """The slot of a key or a channel, 0-16383."""
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def _spread_tags() -> tuple[int, ...]:
    """For each of `BUCKETS` ranges of equal size the smallest number whose slot falls into it.

    A cluster gives each primary as many slots as another. Slots of the buckets' own numbers are
    where chance puts them: then the busiest of 64 primaries has twice the mean.
    """
    tags: dict[int, int] = {}
    for number in itertools.count():
        tags.setdefault(slot_of(number) * BUCKETS // SLOTS, number)
        if len(tags) == BUCKETS:
            break
    return tuple(tags[bucket] for bucket in range(BUCKETS))


BUCKET_TAGS: Final = _spread_tags()
"""The hash tag of each bucket. They never change: what was stored is looked for under them."""
BUCKET_SLOTS: Final = tuple(map(slot_of, BUCKET_TAGS))
"""The slot of each bucket: they grow with its number, evenly."""


def parse_nodes(text: str, asked: str) -> list[Claim]:
    """The claims in an answer to CLUSTER NODES that came from the host `asked`.

    A host name that a node announces goes before its address: it is what a certificate names.
    """
    claims = []
    for line in text.splitlines():
        fields = line.split(" ")
        flags = set(fields[2].split(","))
        if "master" not in flags or flags & {"noaddr", "handshake"}:
            continue
        address, _, names = fields[1].partition(",")
        host, _, port = address.partition("@")[0].rpartition(":")
        name = names.partition(",")[0]
        node = Node(fields[0], name or host or asked, int(port), host if name else "")
        ranges = []
        for part in fields[8:]:
            if not part.startswith("["):  # a slot that is on its way still is where it was
                first, _, last = part.partition("-")
                ranges.append((int(first), int(last or first)))
        claims.append(Claim(node, int(fields[6]), tuple(ranges)))
    return claims


class SlotMap:
    """The owner of each slot; `owners` has None where nobody claims it."""

    def __init__(self) -> None:
        self.owners: list[Node | None] = [None] * SLOTS
        self.nodes: set[Node] = set()
        """The primaries that own a slot."""
        self.complete = False
        """True when every slot has an owner."""
        self._claims: dict[str, Claim] = {}

    def knows(self, claims: list[Claim]) -> bool:
        """True when `claims` are of the cluster that this is the map of."""
        return any(claim.node.id in self._claims for claim in claims)

    def merge(self, claims: list[Claim]) -> bool:
        """Take in a node's view; True when a slot has another owner now."""
        for claim in claims:
            held = self._claims.get(claim.node.id)
            if held is None or claim.epoch >= held.epoch:
                self._claims[claim.node.id] = claim
        owners: list[Node | None] = [None] * SLOTS
        for claim in sorted(self._claims.values(), key=lambda claim: claim.epoch):
            for first, last in claim.ranges:
                owners[first : last + 1] = [claim.node] * (last + 1 - first)
        changed = owners != self.owners
        self.owners = owners
        self.nodes = {node for node in owners if node is not None}
        self.complete = None not in owners
        return changed

    def clear(self) -> None:
        """Forget all: it was another cluster."""
        self._claims.clear()
        self.merge([])
