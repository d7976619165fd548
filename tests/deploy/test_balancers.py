"""A real HAProxy and a real nginx, with the files of deploy/, in front of two gateways."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from homeport import Disconnected, codes
from websockets.exceptions import InvalidStatus

from gateway.dev import certificates
from tests.deploy.balancers import HAProxy, Nginx, Places, running, start_gateways
from tests.deploy.tools import run
from tests.harness import ANSWER_S, RawClient, client_tls
from tests.system.load import Load
from tests.system.site import OpenSite, open_site

USERS = 6
EACH = 400
IN_FLIGHT = 4

KINDS = [pytest.param(HAProxy(), id="haproxy"), pytest.param(Nginx(), id="nginx")]


@pytest.fixture(name="open_site")
def _open_site(tmp_path: Path) -> Iterator[OpenSite]:
    with contextlib.ExitStack() as stack:
        yield partial(open_site, stack, tmp_path)


@pytest.fixture
def certs(tmp_path: Path) -> certificates.DevCerts:
    """A certificate for localhost."""
    folder = tmp_path / "tls"
    folder.mkdir()
    return certificates.ensure(folder, datetime.now(UTC))


@pytest.mark.parametrize("kind", KINDS)
def test_the_balancer_has_nothing_to_say_against_its_file(
    kind: HAProxy | Nginx, certs: certificates.DevCerts, tmp_path: Path
) -> None:
    """`haproxy -c` and `nginx -t`: no error and no warning."""
    command = kind.command(Places.free(), tmp_path, certs)
    checked = run(*command, "-c" if isinstance(kind, HAProxy) else "-t")
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr.lower(), checked.stderr


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
async def test_gateways_drain_one_after_the_other_and_nothing_is_lost_or_doubled(
    kind: HAProxy | Nginx, open_site: OpenSite, certs: certificates.DevCerts, tmp_path: Path
) -> None:
    """G1, G2, G3, G10: under load over WSS, each gateway is restarted. Its clients leave because
    they are told to, find the other one at their first attempt, and miss nothing."""
    places = Places.free()
    command = kind.command(places, tmp_path, certs)
    site = await open_site()
    gateways = await start_gateways(site, kind, places, certs)
    tls = client_tls(certs.ca)
    async with running(command, places, tmp_path) as balancer, contextlib.AsyncExitStack() as stack:
        for name in gateways:
            # One on each, who does not answer a close: so the drain lasts for seconds, and the
            # balancer can see it by more than refused connections.
            mute = await stack.enter_async_context(RawClient.open(balancer.url, ssl=tls))
            await mute.connect(site.token(name))
            mute.websocket.transport.pause_reading()
        load = Load(site, balancer.url, USERS, random.Random(1), ssl=tls)
        async with load.running():
            async with asyncio.TaskGroup() as group:
                group.create_task(load.send(EACH, IN_FLIGHT))
                for number, (name, gateway) in enumerate(gateways.items(), 1):
                    await load.until_accepted(number * USERS * EACH // 4)
                    assert await asyncio.to_thread(gateway.stop) == 0
                    if isinstance(kind, HAProxy):
                        assert balancer.said(f"Server gateways/{name} is DOWN, reason: Layer7")
                        assert balancer.said("code: 503")
                    await asyncio.to_thread(gateway.start)
                    if isinstance(kind, HAProxy):
                        await balancer.until_said(f"Server gateways/{name} is UP")
            assert load.begun == USERS * EACH
            await load.until_received()
            await load.check()
        ends = [
            event.code
            for events in load.events.values()
            for event in events
            if isinstance(event, Disconnected)
        ]
        assert ends and set(ends) == {codes.GOING_AWAY.number}


async def test_nginx_keeps_what_is_not_for_its_log_out_of_it(
    open_site: OpenSite, certs: certificates.DevCerts, tmp_path: Path
) -> None:
    """G8: a token in the query string is refused, and is in nobody's log."""
    kind, places = Nginx(), Places.free()
    command = kind.command(places, tmp_path, certs)
    site = await open_site()
    await start_gateways(site, kind, places, certs)
    async with running(command, places, tmp_path) as balancer, asyncio.timeout(ANSWER_S):
        token = site.token("alice")
        tls = client_tls(certs.ca)
        with pytest.raises(InvalidStatus):
            async with RawClient.open(f"{balancer.url}?token={token}", ssl=tls):
                pass
        await balancer.until_said(" 400 ")
        assert not balancer.said(token)
