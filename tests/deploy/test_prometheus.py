"""A real Prometheus, with the files of deploy/, in front of a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.balancers import replace
from tests.deploy.test_watching import ALERTS, PROMETHEUS, queries
from tests.deploy.tools import program
from tests.harness import RawClient
from tests.system.ops import free_address
from tests.system.site import DEADLINE_S, OpenSite, open_site, ws


class Prometheus:
    """One that runs."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/api/v1/"

    async def get(self, path: str, **parameters: str) -> Any:
        """What its API answers; None while it does not, or says that something is wrong."""
        return await asyncio.to_thread(self._get, path, parameters)

    def _get(self, path: str, parameters: dict[str, str]) -> Any:
        url = f"{self._url}{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    async def values(self, query: str) -> list[float]:
        """The values that a query has now."""
        data = await self.get("query", query=query)
        return [float(series["value"][1]) for series in data["result"]] if data else []

    async def rules(self) -> dict[str, str]:
        """The health of each alert."""
        groups = (await self.get("rules"))["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    async def until(self, query: str) -> None:
        """Wait until a query has a value."""
        async with asyncio.timeout(DEADLINE_S):
            while not await self.values(query):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def running(target: str, folder: Path) -> AsyncIterator[Prometheus]:
    """Prometheus with prometheus.yml as it is, but for the target, and 15 times as fast."""
    address = free_address()
    config = folder / "prometheus.yml"
    text = replace(
        (PROMETHEUS / "prometheus.yml").read_text(),
        ("[gateway-1:9600, gateway-2:9600]", f'["{target}"]'),
        ("interval: 15s", "interval: 1s"),
        ("alerts.yaml", str(PROMETHEUS / "alerts.yaml")),
    )
    config.write_text(text)
    process = await asyncio.create_subprocess_exec(
        program("prometheus", "prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Prometheus(address)
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture(name="open_site")
def _open_site(tmp_path: Path) -> Iterator[OpenSite]:
    with contextlib.ExitStack() as stack:
        yield partial(open_site, stack, tmp_path)


async def test_prometheus_sees_a_gateway_and_that_it_is_gone(
    open_site: OpenSite, tmp_path: Path
) -> None:
    """Alerts and dashboard ask for what a gateway really says: sessions are counted, frames have
    the types that an alert names, every query is answered, and a killed gateway is noticed."""
    site = await open_site()
    target = free_address()
    gateway = await site.gateway(ops_listen=target)
    async with running(target, tmp_path) as prometheus:
        async with RawClient.open(ws(gateway)) as alice:
            await alice.connect(site.token("alice"))
            await prometheus.until('up{job="homeport"} == 1')
            await prometheus.until('sum(homeport_runtime_ready{job="homeport"}) == 1')
            await prometheus.until('sum(homeport_session_sessions{job="homeport"}) == 1')
            await prometheus.until('homeport_session_frames_total{type="connect"} == 1')
        for query in queries():
            assert await prometheus.get("query", query=query) is not None, query
        async with asyncio.timeout(DEADLINE_S):
            while set((health := await prometheus.rules()).values()) != {"ok"}:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert health.keys() == {alert["alert"] for alert in ALERTS}
        assert await prometheus.values('ALERTS{alertstate="firing"}') == []
        gateway.kill()
        await prometheus.until('ALERTS{alertname="HomeportGatewayDown", alertstate="pending"}')
