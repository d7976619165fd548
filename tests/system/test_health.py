"""Health: what a gateway says of itself, and that it says no when it would not deliver."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import urllib.parse

from homeport import codes

from gateway.runtime import control
from tests.harness import RawClient, until
from tests.processes import PROGRAM
from tests.system.ops import Ops, Proxy
from tests.system.site import DEADLINE_S, OpenSite, ws

SOON_S = 2.0
"""Within which readiness is off."""


async def test_readiness_goes_when_only_pubsub_is_broken(open_site: OpenSite) -> None:
    """Redis answers every command, sends are accepted, and nobody hears of them: within 2 s the
    gateway says that it does not deliver, and why; and when pub/sub is back, that it does."""
    site, ops = await open_site(), Ops()
    async with Proxy(urllib.parse.urlsplit(site.store.url).path) as proxy:
        gateway = await site.gateway(redis_url=proxy.url, ops_listen=ops.address)
        assert await ops.until("/readyz", 200) == {"ok": True, "problems": []}
        async with RawClient.open(ws(gateway)) as client:
            await client.connect(site.token("alice"))
            proxy.hold()
            assert await ops.seconds_until_unready() < SOON_S
            await ops.fails("pubsub", ["1"])
            assert "Ok" in repr(await client.say("bob", "hello"))  # so the link is well
            assert (await ops.ask("/livez"))[0] == 200  # a restart would mend nothing
            assert (await ops.ask("/startupz"))[0] == 200
            proxy.go_on()
            await ops.until("/readyz", 200)


async def test_readiness_goes_while_redis_is_away(open_site: OpenSite) -> None:
    """Within 2 s of its being killed; and comes back with it."""
    site, ops = await open_site(), Ops()
    await site.gateway(ops_listen=ops.address)
    await ops.until("/readyz", 200)
    site.store.kill()
    assert await ops.seconds_until_unready() < SOON_S
    await ops.fails("link", ["1"])
    assert (await ops.ask("/livez"))[0] == 200
    site.store.start()
    await ops.until("/readyz", 200)


async def test_a_gateway_that_starts_is_alive_and_not_ready(open_site: OpenSite) -> None:
    """While Redis is away at the start; /startupz holds from the first readiness on."""
    site, ops = await open_site(), Ops()
    site.store.kill()
    starting = asyncio.create_task(site.gateway(ops_listen=ops.address, workers=2))
    try:
        await ops.fails("start", ["1", "2"])
        assert (await ops.ask("/startupz"))[0] == 503
        assert (await ops.ask("/livez"))[0] == 200
        assert (await ops.told("/drain"))["state"] == "ready"
    finally:
        site.store.start()
        await starting
    await ops.until("/readyz", 200)
    assert (await ops.ask("/startupz"))[0] == 200


async def test_a_loop_that_hangs_is_not_alive(open_site: OpenSite) -> None:
    """The worker is named, and only that one: first as not ready, then as not alive."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway(workers=2, ops_listen=ops.address)
    await ops.until("/readyz", 200)
    hanging = gateway.workers[0]
    os.kill(hanging, signal.SIGSTOP)
    try:
        await ops.fails("loop", ["1"])
        told = await ops.until("/livez", 503)
        assert [(p["worker"], p["part"]) for p in told["problems"]] == [("1", "loop")]
    finally:
        os.kill(hanging, signal.SIGCONT)
    await ops.until("/livez", 200)
    await ops.until("/readyz", 200)


async def test_a_drain_is_shown_and_no_readiness(open_site: OpenSite) -> None:
    """Readiness goes, the progress counts the session that is left, and the ops process is the last
    to end. No request begins it, and asking for it again does not hurry it."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway("a", workers=2, ops_listen=ops.address)
    await ops.until("/readyz", 200)
    (here,) = control.running(str(site.folder / "a.toml"))
    async with RawClient.open(ws(gateway)) as client:
        await client.connect(site.token("alice"))
        client.websocket.transport.pause_reading()  # so it answers no close frame
        assert (await ops.ask("/drain", "POST"))[0] == 405
        assert (await ops.told("/drain"))["state"] == "ready"
        with here.ask_to_drain(), here.ask_to_drain():
            await ops.until("/readyz", 503)

            async def counted() -> bool:
                told = await ops.told("/drain")
                return (told["state"], told["to_drain"], told["left"]) == ("draining", 1, 1)

            await until(counted, within=DEADLINE_S)
            assert (await ops.metrics())["homeport_runtime_drain_sessions"] == 1
            client.websocket.transport.resume_reading()
            await ops.gone()
    assert gateway.stop() == 0


async def test_a_terminals_ctrl_c_leaves_the_ops_process_to_the_end(open_site: OpenSite) -> None:
    """Ctrl-C reaches every process. The workers drain, and for as long as one does, the ops process
    shows it; it ends by the supervisor's signal, and not as one that died."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway("a", workers=2, ops_listen=ops.address)
    await ops.until("/readyz", 200)
    async with RawClient.open(ws(gateway)) as client:
        await client.connect(site.token("alice"))
        client.websocket.transport.pause_reading()  # so it answers no close frame
        os.killpg(gateway.pid, signal.SIGINT)

        async def only_the_last_is_left() -> bool:
            status, body = await ops.ask("/drain")
            told = json.loads(body) if status == 200 else {}
            return (told.get("state"), told.get("left"), told.get("workers")) == ("draining", 1, 1)

        await until(only_the_last_is_left, within=DEADLINE_S)
        client.websocket.transport.resume_reading()
        assert await client.closed() == codes.GOING_AWAY.number
    assert gateway.wait(DEADLINE_S) == 0
    assert "died" not in site.log.read_text()


async def test_homeport_drain_follows_the_ops_process_to_its_end(open_site: OpenSite) -> None:
    """The command line begins the drain of two workers, and waits until they are gone."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway("a", workers=2, ops_listen=ops.address)
    await ops.until("/readyz", 200)
    async with RawClient.open(ws(gateway)) as client:
        await client.connect(site.token("alice"))
        command = [str(PROGRAM), "drain", "--config", str(site.folder / "a.toml")]
        draining = asyncio.to_thread(
            lambda: subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
        )
        ran, code = await asyncio.gather(draining, client.closed())
    assert code == codes.GOING_AWAY.number
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "gone"
    assert gateway.stop() == 0


async def test_what_is_not_there_is_said(open_site: OpenSite) -> None:
    """Another path names those there are; another method is refused."""
    site, ops = await open_site(), Ops()
    await site.gateway(ops_listen=ops.address)
    told = await ops.until("/", 404)
    assert "/readyz" in told["there_is"]
    assert (await ops.ask("/drain", "DELETE"))[0] == 405
    assert (await ops.ask("/readyz", "POST"))[0] == 405


async def test_an_ops_process_that_is_killed_comes_back(open_site: OpenSite) -> None:
    """And the workers' reports find the new one."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway(workers=2, ops_listen=ops.address)
    await ops.until("/readyz", 200)
    os.kill(gateway.workers[-1], signal.SIGKILL)
    await ops.gone()
    await ops.until("/readyz", 200)
    assert (await ops.told("/drain"))["workers"] == 2
