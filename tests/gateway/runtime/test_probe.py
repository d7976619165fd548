"""The probe: what proves delivery, and which part is named when nothing does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.ops.board import FAULTS, PROOF_S
from gateway.redis.errors import CommandFault, MissingRights, OperationFailed, Unavailable
from gateway.redis.scripts import SCRIPTS, Script
from gateway.redis.subscriber import ChannelListener
from gateway.runtime.probe import FORGET_S, LIMIT_S, NAMED_S, Probe
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store.errors import RegionMissing, StampError
from gateway.store.keys import Keys
from tests.harness import FakeClock

KEYS = Keys("sg")
CHANNEL = KEYS.probe(0, "abcdef")


class Link:
    """Keeps what was written, and answers when the test says so; and a subscriber."""

    def __init__(self) -> None:
        self.refused: StampError | Unavailable | None = None
        self.said: list[bytes] = []
        self.answers: list[asyncio.Future[Any]] = []
        self.buckets = [0]
        self.channels: set[str] = set()

    def places(self) -> list[int]:
        """As `gateway.redis.link.Link.places`."""
        return self.buckets

    def run(
        self, script: Script, keys: tuple[str, ...], *arguments: bytes | int, durable: bool
    ) -> asyncio.Future[Any]:
        """As `gateway.redis.link.Link.run`."""
        assert script is SCRIPTS["probe"] and durable
        assert isinstance(arguments[0], bytes)
        assert set(keys) <= {KEYS.probe(bucket, "abcdef") for bucket in self.buckets}
        self.said.append(arguments[0])
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]

    def subscribe(self, channel: str, listener: ChannelListener) -> asyncio.Future[None]:
        """As `gateway.redis.subscriber.Subscriber.subscribe`."""
        self.channels.add(channel)
        return asyncio.get_running_loop().create_future()

    def unsubscribe(self, channel: str) -> None:
        """As `gateway.redis.subscriber.Subscriber.unsubscribe`."""
        self.channels.remove(channel)


class Setup:
    """A probe on such a link."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.link = Link()
        self.sealer = Sealer(Keyring.create(folder / "keys.json", "sg"))
        self.round_trips: list[float] = []
        self.probe = Probe(
            self.link,
            self.link,
            lambda bucket: KEYS.probe(bucket, "abcdef"),
            self.sealer,
            clock.clock(),
            self.round_trips.append,
        )

    async def send(self, answered: bool = True) -> bytes:
        """Send a probe, and have Redis answer; returns what was published."""
        self.probe.send()
        if answered:
            self.link.answers[-1].set_result(None)
            await asyncio.sleep(0)
        return self.link.said[-1]

    async def refuse(self, error: OperationFailed) -> None:
        """Send a probe, and have it refused."""
        await self.send(answered=False)
        self.link.answers[-1].set_exception(error)
        await asyncio.sleep(0)

    def heard(self, payload: bytes, bucket: int = 0) -> None:
        """A probe is back."""
        self.probe.heard(KEYS.probe(bucket, "abcdef").encode(), payload)


@pytest.fixture
def setup(tmp_path: Path, clock: FakeClock) -> Setup:
    """A probe that was never sent."""
    return Setup(tmp_path, clock)


async def test_what_comes_back_in_time_proves_delivery(setup: Setup) -> None:
    """As of the moment it was sent."""
    assert setup.probe.proof_s == -1
    sent = await setup.send()
    setup.clock.advance(0.25)
    setup.heard(sent)
    setup.clock.advance(0.5)
    assert setup.probe.proof_s == 0.75


async def test_a_repeat_proves_nothing(setup: Setup) -> None:
    """Nor does a copy of an earlier one, which anybody in Redis could publish."""
    sent = await setup.send()
    setup.heard(sent)
    setup.clock.advance(5)
    await setup.send()
    setup.heard(sent)
    assert setup.probe.proof_s == 5
    assert setup.probe.fault == "pubsub"


async def test_what_comes_back_too_late_is_no_proof(setup: Setup) -> None:
    """More than a second after it was sent: pub/sub works, and is no use."""
    sent = await setup.send()
    setup.clock.advance(LIMIT_S + 0.1)
    setup.heard(sent)
    assert (setup.probe.proof_s, setup.probe.fault) == (-1, "late")


async def test_what_does_not_open_is_the_keyrings_fault(setup: Setup) -> None:
    """G7: a probe is sealed as messages are, so a key that does not fit is found by it."""
    sent = await setup.send()
    setup.heard(sent[:-1] + bytes([sent[-1] ^ 1]))
    assert (setup.probe.proof_s, setup.probe.fault) == (-1, "keyring")
    setup.heard(sent)
    assert setup.probe.proof_s == 0


async def test_redis_that_refuses_or_says_nothing_is_the_links_fault(setup: Setup) -> None:
    """And once it answers again, what still does not come back is pub/sub's."""
    await setup.send(answered=False)
    setup.link.answers[-1].set_exception(Unavailable("not_connected"))
    await asyncio.sleep(0)
    assert setup.probe.fault == "link"
    await setup.send()
    assert setup.probe.fault == "pubsub"
    await setup.send(answered=False)
    setup.clock.advance(1)
    assert setup.probe.fault == "link"


async def test_the_links_round_trip_is_that_of_the_publish(setup: Setup) -> None:
    """Until Redis answers; a refusal is none."""
    await setup.send(answered=False)
    setup.clock.advance(0.125)
    setup.link.answers[-1].set_result(1)
    await asyncio.sleep(0)
    await setup.send(answered=False)
    setup.link.answers[-1].set_exception(Unavailable("busy"))
    await asyncio.sleep(0)
    assert setup.round_trips == [0.125]


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (Unavailable("oom"), "full"),
        (Unavailable("misconf"), "disk"),
        (Unavailable("readonly"), "readonly"),
        (Unavailable("noreplicas"), "replicas"),
        (Unavailable("replicas"), "replicas"),
        (Unavailable("eviction"), "eviction"),
        (Unavailable("durability"), "durability"),
        (CommandFault("NOPERM"), "acl"),
        (MissingRights("gateway", "XADD"), "acl"),
        (CommandFault("WRONGTYPE"), "refused"),
    ],
)
async def test_a_redis_that_takes_no_write_is_named(
    setup: Setup, error: OperationFailed, fault: str
) -> None:
    """A full Redis published what it was asked to, and every probe said ready while nothing was
    accepted. What refuses a send is named, and until it is over."""
    setup.heard(await setup.send())
    assert setup.probe.failing == ""
    for _ in range(4):
        setup.clock.advance(0.5)
        await setup.refuse(error)
    assert (setup.probe.proof_s, setup.probe.fault, setup.probe.failing) == (2, fault, fault)
    assert fault in FAULTS
    setup.heard(await setup.send())
    assert (setup.probe.failing, setup.probe.fault) == ("", "pubsub")


async def test_a_read_only_redis_that_is_left_keeps_its_name(setup: Setup) -> None:
    """The link leaves it and tries again, so every second probe finds no connection; and a Redis
    that is gone for longer than that is the link's fault."""
    await setup.refuse(Unavailable("readonly"))
    setup.clock.advance(0.5)
    await setup.refuse(Unavailable("not_connected"))
    assert setup.probe.fault == "readonly"
    setup.clock.advance(NAMED_S)
    await setup.refuse(Unavailable("not_connected"))
    assert setup.probe.fault == "link"


async def test_each_primary_has_to_prove_itself(setup: Setup) -> None:
    """With a cluster, a worker saw one of its primaries only, by chance: two thirds of its users
    had nothing delivered while it was ready."""
    setup.link.buckets = [0, 7]
    setup.probe.send()
    assert setup.link.channels == {KEYS.probe(0, "abcdef"), KEYS.probe(7, "abcdef")}
    for answer in setup.link.answers:
        answer.set_result(None)
    await asyncio.sleep(0)
    for bucket in (0, 7):
        for said in list(setup.link.said):
            setup.heard(said, bucket)  # each opens on its own channel alone
    assert setup.probe.proof_s == 0
    for _ in range(4):
        setup.clock.advance(0.5)
        setup.probe.send()
        first, second = setup.link.answers[-2:]
        first.set_result(None)
        second.set_exception(Unavailable("oom"))
        await asyncio.sleep(0)
        for bucket in (0, 7):
            setup.heard(setup.link.said[-2], bucket)
    assert (setup.probe.proof_s, setup.probe.failing) == (2, "full")


async def test_ways_follow_the_primaries(setup: Setup) -> None:
    """One that comes has the time of any proof before it counts against the gateway; one that
    goes, as its slots are another's, is no reason to be unready."""
    setup.heard(await setup.send())
    setup.link.buckets = [0, 7]
    await setup.send()
    assert setup.probe.proof_s == 0
    setup.clock.advance(PROOF_S + 0.1)
    assert setup.probe.failing
    setup.link.buckets = [0]
    setup.heard(await setup.send())
    assert (setup.probe.failing, setup.link.channels) == ("", {CHANNEL})


async def test_lost_probes_are_forgotten(setup: Setup) -> None:
    """So an outage of hours costs no memory."""
    first = await setup.send()
    setup.clock.advance(FORGET_S + 1)
    await setup.send()
    setup.heard(first)  # which would be late, if it were still known
    assert setup.probe.fault == "pubsub"


@pytest.mark.parametrize(
    ("refusal", "fault"),
    [(RegionMissing("sg"), "region"), (MissingRights("gateway", "XADD"), "acl")],
)
async def test_a_redis_that_answers_and_is_not_used_is_named(
    setup: Setup, refusal: StampError | Unavailable, fault: str
) -> None:
    """The link keeps off it, which looked like a Redis that is away; its own word goes first."""
    setup.heard(await setup.send())
    setup.link.refused = refusal
    assert setup.probe.fault == fault
    setup.link.refused = None
    assert setup.probe.fault == "pubsub"


async def test_a_wrong_redis_makes_earlier_proofs_void(setup: Setup) -> None:
    """Where it went, too, its name went with it, and for the rest of two seconds the gateway was
    ready on the word of the Redis before it, while it had none: it has to prove itself again."""
    setup.heard(await setup.send())
    away = await setup.send(answered=False)
    assert setup.probe.proof_s == 0
    setup.link.refused = RegionMissing("sg")
    setup.probe.look()
    assert setup.probe.proof_s == -1
    setup.link.refused = None
    setup.heard(away)
    assert setup.probe.proof_s == -1
    setup.heard(await setup.send())
    assert setup.probe.proof_s == 0
