"""By what sessions ended, and what was lost, as an operator finds it later."""

from __future__ import annotations

import pytest
from homeport import codes, frames

from gateway.config import Settings
from gateway.store.endings import BROKEN_OFF, Cause, NotedEnd
from gateway.store.user_facts import read_user
from tests.harness import FakeClock, RawClient, RunningWorker, running_worker


async def noted(running: RunningWorker, user: str, count: int) -> tuple[NotedEnd, ...]:
    """The last `count` ends of the user's sessions, the newest first, once they are noted."""
    async with running.admin() as admin:
        while True:
            facts = await read_user(admin.link, admin.keys, running.app, user)
            if len(facts.ends) >= count:
                return facts.ends[:count]


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("kicked", Cause("gateway", codes.KICKED.number)),
        ("malformed", Cause("gateway", codes.BAD_FRAME.number)),
        ("silent", Cause("gateway", codes.PING_TIMEOUT.number)),
        ("replaced", Cause("gateway", codes.REPLACED.number)),
        ("drained", Cause("gateway", codes.GOING_AWAY.number)),
        ("leaves", Cause("client", 1001)),
        ("breaks off", BROKEN_OFF),
    ],
)
async def test_by_which_side_and_with_which_code(
    settings: Settings, clock: FakeClock, how: str, cause: Cause
) -> None:
    """Written with the cursor that is saved at the end anyway, whichever way a session ends."""
    async with running_worker(settings, clock=clock) as running:
        async with RawClient.open(running.url) as client:
            await client.connect(running.token("bob"), "phone")
            session = client.connected.session
            if how == "kicked":
                async with running.admin() as admin:
                    await admin.access.kick(running.app.id, "bob")
                await client.closed()
            elif how == "malformed":
                await client.send(b"\xc1")
                await client.closed()
            elif how == "silent":
                for _ in range(3):
                    running.pass_time(25.25)
                await client.closed()
            elif how == "replaced":
                async with running.client("bob", "phone"):
                    await client.closed()
            elif how == "drained":
                await running.worker.stop()
                await client.closed()
            elif how == "leaves":
                await client.websocket.close(1001)
            else:
                client.websocket.transport.abort()
        ends = await noted(running, "bob", 2 if how == "replaced" else 1)
    [end] = [each for each in ends if each.session == session]
    assert (end.cause, end.device) == (cause, "phone")
    assert end.ms == clock.ms


async def test_an_ephemeral_session_is_not_noted(running: RunningWorker) -> None:
    """HP-19.2-1: who only looks does not push out what is looked for."""
    async with running.client("bob", "cli", ephemeral=True):
        pass
    async with running.client("bob", "phone"):
        pass
    assert [end.device for end in await noted(running, "bob", 1)] == ["phone"]


async def test_a_loss_is_noted_when_the_device_was_told(
    settings: Settings, clock: FakeClock
) -> None:
    """G5: as it connects; the operator sees from which number to which."""
    async with running_worker(settings, clock=clock, tier="free") as running:
        async with running.client("alice") as alice, running.client("bob", "phone"):
            await alice.say("bob", "first")
        clock.advance(2 * 86_400)
        async with running.client("alice") as alice:
            await alice.say("bob", "second")
        clock.advance(2 * 86_400)  # the first is past its time, the second is not
        async with running.client("bob", "phone") as bob:
            assert bob.connected.lost == (1, 1)
            assert (await bob.until(frames.Push)).number == 2
        await noted(running, "bob", 2)
        async with running.admin() as admin:
            loss = (await read_user(admin.link, admin.keys, running.app, "bob")).loss
        assert loss is not None
        assert (loss.first, loss.last, loss.device, loss.ms) == (1, 1, "phone", clock.ms)
