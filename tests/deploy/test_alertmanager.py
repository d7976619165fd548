"""alertmanager.yml: who is told of what, and that one fault is told once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.balancers import replace
from tests.deploy.test_watching import ALERTS, PROMETHEUS
from tests.deploy.tools import program, read_yaml, run
from tests.system.ops import free_address
from tests.system.site import DEADLINE_S

CONFIG = PROMETHEUS / "alertmanager.yml"
SEVERITY = {alert["alert"]: alert["labels"]["severity"] for alert in ALERTS}
GATEWAYS = ("a:9600", "b:9600")


def alert(name: str, instance: str = "", region: str = "sg") -> dict[str, str]:
    """The labels that one has; of a region, or of one of its gateways."""
    labels = {"alertname": name, "severity": SEVERITY[name], "region": region}
    return labels | {"instance": instance} if instance else labels


class Told:
    """What Alertmanager's receivers were told: of each notification the receiver and its alerts."""

    def __init__(self) -> None:
        self.said: list[tuple[str, list[str]]] = []

    def take(self, body: dict[str, Any]) -> None:
        """One notification."""
        names = sorted({found["labels"]["alertname"] for found in body["alerts"]})
        self.said.append((body["receiver"], names))


@contextlib.contextmanager
def receiver(told: Told) -> Iterator[str]:
    """Where a webhook is heard."""

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextlib.asynccontextmanager
async def running(folder: Path, hook: str) -> AsyncIterator[str]:
    """The URL of an Alertmanager with the file as it is, but for its patience and its receivers."""
    text = replace(
        CONFIG.read_text(),
        ("group_wait: 1m", "group_wait: 1s"),
        ("group_wait: 30s", "group_wait: 1s"),
        *(
            (f"- name: {name}", f'- name: {name}\n    webhook_configs: [{{url: "{hook}"}}]')
            for name in ("page", "ticket")
        ),
    )
    config = folder / "alertmanager.yml"
    config.write_text(text)
    address = free_address()
    process = await asyncio.create_subprocess_exec(
        program("prometheus-alertmanager", "prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://{address}"
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await asyncio.to_thread(_is_ready, url):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        await process.wait()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=DEADLINE_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _fire(url: str, alerts: list[dict[str, str]]) -> None:
    body = json.dumps([{"labels": labels} for labels in alerts]).encode()
    request = urllib.request.Request(
        f"{url}/api/v2/alerts", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        assert answer.status == 200


def test_alertmanager_takes_the_file() -> None:
    """`amtool check-config`."""
    checked = run(program("amtool", "prometheus-alertmanager"), "check-config", CONFIG)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("name", SEVERITY)
def test_an_alert_goes_where_its_severity_says(name: str) -> None:
    """`amtool config routes test`: pages to `page`, tickets to `ticket`."""
    labels = [f"{key}={value}" for key, value in alert(name).items()]
    ran = run(
        program("amtool", "prometheus-alertmanager"),
        *("config", "routes", "test", f"--config.file={CONFIG}"),
        f"--verify.receivers={SEVERITY[name]}",
        *labels,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_what_is_kept_back_are_alerts_and_no_causes() -> None:
    """A typo in a rule would keep nothing back. What tells a cause is in none."""
    named = set()
    for rule in read_yaml(CONFIG)["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            _, _, pattern = matcher.partition("=")
            pattern = pattern.lstrip("~").strip().strip('"')
            found = {name for name in SEVERITY if re.fullmatch(pattern, name)}
            alternatives = re.search(r"\((.*)\)", pattern)
            assert len(found) == (len(alternatives[1].split("|")) if alternatives else 1), matcher
            named |= found
    assert not named & {"HomeportKeysApart", "HomeportReloadRefused", "HomeportNumberingAnew"}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param(
            [
                alert("HomeportRegionDown"),
                *(alert("HomeportNotReady", gateway) for gateway in GATEWAYS),
                *(alert("HomeportRedisSlow", gateway) for gateway in GATEWAYS),
                alert("HomeportSweeperLag"),
            ],
            [("page", ["HomeportRegionDown"])],
            id="Redis is away",
        ),
        pytest.param(
            [
                alert("HomeportNotReady", "a:9600"),
                alert("HomeportRedisQueue", "a:9600"),
                alert("HomeportPubsubUnstable", "a:9600"),
            ],
            [("page", ["HomeportNotReady"])],
            id="one gateway has lost Redis",
        ),
        pytest.param(
            [
                alert(name, gateway)
                for gateway in GATEWAYS
                for name in ("HomeportCertificateExpires", "HomeportCertificateExpiresNow")
            ],
            [("page", ["HomeportCertificateExpiresNow"])],
            id="a certificate ends",
        ),
        pytest.param(
            [
                alert("HomeportRegionDown"),
                alert("HomeportNotReady", "c:9600", region="eu"),
                alert("HomeportKeysApart", "a:9600"),
                alert("HomeportCertificateExpires", "b:9600"),
            ],
            [
                ("page", ["HomeportKeysApart", "HomeportRegionDown"]),
                ("page", ["HomeportNotReady"]),
                ("ticket", ["HomeportCertificateExpires"]),
            ],
            id="two regions, and causes",
        ),
    ],
)
async def test_one_fault_is_told_once(
    tmp_path: Path, fault: list[dict[str, str]], told: list[tuple[str, list[str]]]
) -> None:
    """By a real Alertmanager. Redis away was three pages for two gateways, and a certificate that
    ends two pages and two tickets. What follows from something is kept back; a cause, and what is
    wrong in another region, is told."""
    heard = Told()
    with receiver(heard) as hook:
        async with running(tmp_path, hook) as url:
            await asyncio.to_thread(_fire, url, fault)
            async with asyncio.timeout(DEADLINE_S):
                while len(heard.said) < len(told):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
            # Each group waits equally long: what else there is to be told is told by now.
            await asyncio.to_thread(_fire, url, [alert("HomeportKeyOld", region="na")])
            async with asyncio.timeout(DEADLINE_S):
                while ("ticket", ["HomeportKeyOld"]) not in heard.said:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
    heard.said.remove(("ticket", ["HomeportKeyOld"]))
    assert sorted(heard.said) == told
