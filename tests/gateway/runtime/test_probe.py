"""The probe: what proves delivery, and which part is named when nothing does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.runtime.probe import FORGET_S, LIMIT_S, Probe
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store.errors import Unavailable
from tests.harness import FakeClock

CHANNEL = "hp:sg:{probe:abcdef}"


class Link:
    """Keeps what was published, and answers when the test says so."""

    def __init__(self) -> None:
        self.refused: Exception | None = None
        self.said: list[bytes] = []
        self.answers: list[asyncio.Future[Any]] = []

    def publish(self, channel: str, payload: bytes) -> asyncio.Future[Any]:
        """As `gateway.store.link.Link.publish`."""
        assert channel == CHANNEL
        self.said.append(payload)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]


class Setup:
    """A probe on such a link."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.link = Link()
        self.sealer = Sealer(Keyring.create(folder / "keys.json", "sg"))
        self.round_trips: list[float] = []
        self.probe = Probe(CHANNEL, self.link, self.sealer, clock.clock(), self.round_trips.append)

    async def send(self, answered: bool = True) -> bytes:
        """Send a probe, and have Redis answer; returns what was published."""
        self.probe.send()
        if answered:
            self.link.answers[-1].set_result(1)
            await asyncio.sleep(0)
        return self.link.said[-1]


@pytest.fixture
def setup(tmp_path: Path, clock: FakeClock) -> Setup:
    """A probe that was never sent."""
    return Setup(tmp_path, clock)


async def test_what_comes_back_in_time_proves_delivery(setup: Setup) -> None:
    """As of the moment it was sent."""
    assert setup.probe.proof_s == -1
    sent = await setup.send()
    setup.clock.advance(0.25)
    setup.probe.heard(sent)
    setup.clock.advance(0.5)
    assert setup.probe.proof_s == 0.75


async def test_a_repeat_proves_nothing(setup: Setup) -> None:
    """Nor does a copy of an earlier one, which anybody in Redis could publish."""
    sent = await setup.send()
    setup.probe.heard(sent)
    setup.clock.advance(5)
    await setup.send()
    setup.probe.heard(sent)
    assert setup.probe.proof_s == 5
    assert setup.probe.fault == "pubsub"


async def test_what_comes_back_too_late_is_no_proof(setup: Setup) -> None:
    """More than a second after it was sent: pub/sub works, and is no use."""
    sent = await setup.send()
    setup.clock.advance(LIMIT_S + 0.1)
    setup.probe.heard(sent)
    assert (setup.probe.proof_s, setup.probe.fault) == (-1, "late")


async def test_what_does_not_open_is_the_keyrings_fault(setup: Setup) -> None:
    """G7: a probe is sealed as messages are, so a key that does not fit is found by it."""
    sent = await setup.send()
    setup.probe.heard(sent[:-1] + bytes([sent[-1] ^ 1]))
    assert (setup.probe.proof_s, setup.probe.fault) == (-1, "keyring")
    setup.probe.heard(sent)
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


async def test_lost_probes_are_forgotten(setup: Setup) -> None:
    """So an outage of hours costs no memory."""
    for _ in range(100):
        await setup.send()
        setup.clock.advance(1)
    assert len(setup.probe._away) <= FORGET_S + 1
