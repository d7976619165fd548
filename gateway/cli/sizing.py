"""How much of everything a region needs, on paper: gateways, Redis, memory, network.

Plain arithmetic on unit costs that `bench/` measured (`Costs` names where each is from), with room
left over: nothing is planned at more than half of what it can do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Final

from gateway.apps.tiers import Tier
from gateway.redis.slots import BUCKET_SLOTS, BUCKETS, SLOTS

_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Costs:
    """What one of each takes. Microseconds of CPU are of the machine in bench/README.md.

    Attributes:
        message_us: gateway, for a direct message, both ends online (`bench chat`, 6,000 a second).
        redis_message_us: Redis, for the same (bench/results/costs.md says how it was derived).
        delivery_us: gateway, for each further member of a group (`bench group`).
        redis_delivery_us: Redis, for the same (as above).
        idle_us: gateway, for an open connection a second (`bench conn`).
        session_bytes: gateway memory of an open WSS connection, after reconnects (`bench conn`).
        worker_bytes: memory of a worker without connections (`bench conn`).
        sessions_per_s: sessions that one core opens a second over WSS (`bench storm`).
        user_bytes: Redis memory of a user with one device (`bench.kept`).
        row_bytes: the same of a conversation in a user's list of them (`bench.kept`).
        reference_bytes: the same of a message that waits in one inbox (`bench.kept`).
        conversation_bytes: the same of a conversation, beside its messages (`bench.kept`).
        stored_bytes: the same of a message of 200 bytes in its conversation (`bench.kept`).
        mark_bytes: the same of a mark against repeats, for ten minutes (`bench.kept`).
        to_redis_bytes: what a direct message of 200 bytes sends to Redis (`bench.kept`).
        frame_bytes: around a body, in a push over WSS: frame, TLS record, TCP and IP headers.
    """

    message_us: float = 115
    redis_message_us: float = 86
    delivery_us: float = 26
    redis_delivery_us: float = 27
    idle_us: float = 1.6
    session_bytes: int = 45 * 1024
    worker_bytes: int = 70 * 2**20
    sessions_per_s: int = 1_700
    user_bytes: int = 430
    row_bytes: int = 60
    reference_bytes: int = 29
    conversation_bytes: int = 590
    stored_bytes: int = 395
    mark_bytes: int = 104
    to_redis_bytes: int = 1_850
    frame_bytes: int = 180


COSTS: Final = Costs()
BODY: Final = 200
"""The size of body that the costs are of."""

BUSY: Final = 0.5
"""How much of a core is planned for; the rest is for peaks, reconnects and a replica that fails."""

RETURN_S: Final = 30
"""All sessions of a worker can come back within so many seconds."""

PRIMARY_BYTES: Final = 16 * _GIB
"""Data of one Redis primary; more, and a fork, a full resync or a restart takes minutes."""

WORKERS: Final = 4
"""Workers of one replica: a machine or pod of four cores."""

PORTS: Final = 28_000
"""Connections from one address to one address and port (Linux' default range)."""

CLIENTS: Final = 10_000
"""Redis' own default of `maxclients`."""

LEASES: Final = 3_000
"""Workers whose leases one primary can tell all others every 4 s: 2 million names a second."""

AVERAGE: Final = 1 / 3
"""The rate through a whole day, of the rate at its peak."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a region has to carry.

    Attributes:
        users: people with an account that is used.
        rate: messages accepted a second at the peak, everybody's together.
        online: share of `users` with an open connection at the peak.
        recipients: how many get a message; 1 is a direct one.
        size: bytes of a body.
        tier: how long messages are kept.
        waiting: messages that wait in the inbox of a user who is away.
        talk: messages that a conversation keeps at a time.
    """

    users: int
    rate: float
    tier: Tier
    online: float = 0.1
    recipients: float = 1
    size: int = BODY
    waiting: float = 20
    talk: float = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What `Demand` takes. Memory in bytes, network in bits a second, at the peak.

    `replicas` have `WORKERS` workers each, and one is to spare. `primaries` does not count their
    replicas. `share` is the part of the load on the busiest primary: a primary holds whole buckets,
    of 256. `redis_cores` is of all primaries together. `kept_share` is the part of Redis' memory
    that conversations and their rows take. `return_s` is how long all sessions take to connect
    again after a failure of everything.
    """

    sessions: int
    workers: int
    replicas: int
    gateway_bytes: int
    primaries: int
    share: float
    redis_bytes: int
    redis_cores: float
    kept_share: float
    client_bps: float
    redis_bps: float
    return_s: float


def plan(demand: Demand, costs: Costs = COSTS) -> Plan:
    """The arithmetic."""
    sessions = ceil(demand.users * demand.online)
    further = max(0.0, demand.recipients - 1)
    gateway_us = demand.rate * (costs.message_us + further * costs.delivery_us)
    gateway_us += sessions * costs.idle_us
    workers = max(
        ceil(gateway_us / 1e6 / BUSY), ceil(sessions / (costs.sessions_per_s * RETURN_S * BUSY)), 1
    )
    replicas = ceil(workers / WORKERS) + 1

    redis_us = demand.rate * (costs.redis_message_us + further * costs.redis_delivery_us)
    body = demand.size - BODY
    users = demand.users * costs.user_bytes
    waiting = (demand.users - sessions) * demand.waiting * costs.reference_bytes
    messages = demand.rate * AVERAGE * demand.tier.retention_ms / 1000
    talk = costs.conversation_bytes + (demand.recipients + 1) * costs.row_bytes
    kept = messages * (costs.stored_bytes + body + talk / demand.talk)
    marks = demand.rate * 600 * costs.mark_bytes
    redis_bytes = ceil(users + waiting + kept + marks)
    primaries, share = _primaries(redis_us / 1e6, redis_bytes)

    pushes = 1 + demand.recipients
    client_bps = demand.rate * (1 + pushes) * (demand.size + costs.frame_bytes) * 8
    redis_bps = demand.rate * pushes / 2 * (costs.to_redis_bytes + 2 * body) * 8
    return Plan(
        sessions=sessions,
        workers=workers,
        replicas=replicas,
        gateway_bytes=ceil(sessions * costs.session_bytes + workers * costs.worker_bytes),
        primaries=primaries,
        share=share,
        redis_bytes=redis_bytes,
        redis_cores=redis_us / 1e6,
        kept_share=kept / redis_bytes,
        client_bps=client_bps,
        redis_bps=redis_bps,
        return_s=sessions / ((replicas - 1) * WORKERS * costs.sessions_per_s),
    )


def breaks(demand: Demand, found: Plan) -> list[str]:
    """What gives way, the worst first: each a sentence with what to do. Empty: nothing near."""
    per_replica = found.sessions / (found.replicas - 1)
    limits = [
        (
            max(
                found.redis_bytes * found.share / PRIMARY_BYTES,
                found.redis_cores * found.share / BUSY,
            )
            if found.primaries == BUCKETS
            else 0,
            f"a region has {BUCKETS} buckets, so no more primaries than that help: divide the apps "
            "among several installations, each with a Redis of its own",
        ),
        (
            found.redis_bytes * found.kept_share / PRIMARY_BYTES,
            f"conversations are {found.kept_share:.0%} of Redis' memory: a tier that keeps "
            "messages for less time, or messages with a ttl, before more primaries",
        ),
        (
            found.redis_cores / BUSY,
            "one Redis has not the CPU for the messages: use a cluster",
        ),
        (
            found.redis_bytes / PRIMARY_BYTES,
            "one Redis should not hold the data: use a cluster",
        ),
        (
            demand.rate / demand.tier.app.per_s,
            f"an app of tier {demand.tier.name} may send {demand.tier.app.per_s:,} messages a "
            "second: a higher tier, or several apps",
        ),
        (
            per_replica / PORTS,
            f"a balancer's address has {PORTS:,} ports to each address of a gateway: give it "
            f"{ceil(per_replica / PORTS)} addresses, or the gateways several ports",
        ),
        (
            found.workers * 2 / CLIENTS,
            "each worker has two connections to each primary: raise Redis' maxclients",
        ),
        (
            found.workers / LEASES,
            "every worker reads the leases of all others every 4 s, from one primary: divide the "
            "apps among several installations",
        ),
    ]
    return [text for over, text in sorted(limits, key=lambda each: -each[0]) if over > 1]


def _primaries(cores: float, size: int) -> tuple[int, float]:
    """How many are enough, and the busiest one's part of the load."""
    for count in range(1, BUCKETS):
        share = busiest_share(count)
        if cores * share <= BUSY and size * share <= PRIMARY_BYTES:
            return count, share
    return BUCKETS, busiest_share(BUCKETS)


@cache
def busiest_share(primaries: int) -> float:
    """The most buckets on one of so many primaries, of all, where each has as many hash slots."""
    return max(Counter(slot * primaries // SLOTS for slot in BUCKET_SLOTS).values()) / BUCKETS
