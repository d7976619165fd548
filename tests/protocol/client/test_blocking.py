"""Blocking, platform and rate limits in the SDK, against a scripted server and a real gateway."""

from __future__ import annotations

import asyncio

import pytest
from homeport import Blocked, Client, ClientClosed, RequestRefused, frames
from homeport.client.backoff import Backoff
from homeport.codes import DEVICE_LIMIT, TOO_MANY_DEVICES
from homeport.frames import Block, BlockList, Blocks, Send, Unblock

from gateway.config import Settings
from tests.harness import FakeClock, running_worker
from tests.protocol.client.conftest import Setting


async def test_block_and_unblock_resolve_on_ok(setting: Setting) -> None:
    """HP-18.1-1: and are repeated after a cut, with the same id."""
    async with setting.live() as (client, peer):
        for method, kind in ((client.block, Block), (client.unblock, Unblock)):
            asking = asyncio.create_task(method("mallory"))
            frame = await peer.next()
            assert isinstance(frame, Block | Unblock)
            assert (type(frame), frame.user) == (kind, "mallory")
            peer.cut()
            peer = await setting.server.peer()
            await peer.accept()
            assert await peer.next() == frame
            assert not asking.done()
            await peer.done(frame)
            await asking


async def test_blocks_are_listed(setting: Setting) -> None:
    """HP-18.1-5: none too."""
    async with setting.live() as (client, peer):
        for names in (("bob", "eve"), ()):
            asking = asyncio.create_task(client.blocks())
            await peer.done(await peer.expect(Blocks), BlockList(names))
            assert await asking == names


@pytest.mark.parametrize("code", [133, 136])
async def test_a_refusal_is_final(setting: Setting, code: int) -> None:
    """HP-8.1-1: blocked and too_many_blocks are not repeated."""
    async with setting.live() as (client, peer):
        asking = asyncio.create_task(client.block("mallory"))
        await peer.send(frames.Error((await peer.expect(Block)).id, code, "no"))
        with pytest.raises(RequestRefused) as caught:
            await asking
        assert caught.value.code == code


async def test_rate_limited_is_repeated(setting: Setting) -> None:
    """HP-8.1-2: not before `retry_after`, with the same client message id."""
    loop = asyncio.get_running_loop()
    async with setting.live(backoff=Backoff(random=lambda: 0.0)) as (client, peer):
        sending = asyncio.create_task(client.send("bob", "hi"))
        frame = await peer.expect(Send)
        refused = loop.time()
        await peer.send(frames.Error(frame.id, 134, "slow", 0.05, {"limit": "user"}))
        assert await peer.expect(Send) == frame
        assert loop.time() - refused >= 0.05
        await peer.ok(frame)
        await sending


async def test_the_platform_is_told(setting: Setting) -> None:
    """HP-19.1-2: each time it connects; nothing by default."""
    async with setting.live(platform="web") as (_, peer):
        peer.cut()
        peer = await setting.server.peer()
        assert (await peer.accept()).platform == "web"
    with pytest.raises(ValueError, match="at most 32"):
        Client("ws://localhost", device="d", token="t", platform="x" * 33)


async def test_making_room_is_final(setting: Setting) -> None:
    """HP-8.2-2: a client that came back by itself would put another one out."""
    async with setting.live() as (client, peer):
        await peer.ws.close(DEVICE_LIMIT.number)
        with pytest.raises(ClientClosed) as caught:
            await client.send("bob", "x")
        assert caught.value.name == "device_limit"


async def test_a_real_gateways_limit_only_slows_a_client_down(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.1-3, HP-8.1-2: more than a burst at once; everything is accepted in the end."""
    async with running_worker(settings, tier="free", clock=clock) as running:
        token = running.token("alice")
        async with Client(running.url, device="d1", token=token, auto_ack=True) as client:
            sends = [asyncio.create_task(client.send("bob", str(n))) for n in range(520)]
            await asyncio.wait(sends[:500])
            assert sum(send.done() for send in sends) == 500
            running.pass_time(1)
            async with asyncio.timeout(20):
                await asyncio.gather(*sends)


async def test_a_real_gateway_blocks_for_the_client(settings: Settings, clock: FakeClock) -> None:
    """HP-18.2-1, HP-19.1-3: from block to the blocked one's error, and a device too many."""
    async with running_worker(settings, tier="free", clock=clock) as running:
        tokens = {user: running.token(user) for user in ("alice", "bob")}
        async with Client(running.url, device="d1", token=tokens["alice"], platform="a") as alice:
            await alice.block("bob")
            await alice.block("bob")
            assert await alice.blocks() == ("bob",)
            async with Client(running.url, device="d1", token=tokens["bob"]) as bob:
                with pytest.raises(Blocked):
                    await bob.send("alice", "x")
            async with Client(running.url, device="d2", token=tokens["alice"], platform="b"):
                with pytest.raises(ClientClosed, match=TOO_MANY_DEVICES.name) as caught:
                    await Client(
                        running.url, device="d3", token=tokens["alice"], platform="c"
                    ).__aenter__()
                assert caught.value.name == "unauthorized"
