"""HAProxy and nginx in front of two gateways, with the files of deploy/ and other addresses."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import tomllib
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from homeport.limits import PATH

from gateway.dev.certificates import DevCerts
from tests.deploy.tools import DEPLOY, program
from tests.ports import free_port
from tests.processes import GatewayProcess
from tests.system.site import DEADLINE_S, Site

GATEWAYS = ("gateway-1", "gateway-2")


@dataclass(frozen=True)
class Places:
    """Addresses on loopback: one for each gateway, so that both have the files' same ports."""

    hosts: dict[str, str]
    front: int
    traffic: int
    ops: int

    @classmethod
    def free(cls) -> Places:
        """Addresses that nobody else has."""
        hosts = {name: f"127.{_byte()}.{_byte()}.{_byte()}" for name in GATEWAYS}
        first = hosts["gateway-1"]
        return cls(hosts, free_port("127.0.0.1"), free_port(first), free_port(first))


def _byte() -> int:
    return random.randrange(1, 255)


def asked_of_gateways(file: Path) -> dict[str, Any]:
    """The settings that a balancer's file says the gateways need, in its comment."""
    lines = re.findall(r"^#   (\w+ = .*)$", file.read_text(), re.MULTILINE)
    assert lines
    return tomllib.loads("\n".join(lines))


def replace(text: str, *pairs: tuple[str, str]) -> str:
    """`text` with each first of a pair, which must be there, replaced by its second."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


class Balancer:
    """A balancer that runs; `log` is what it says."""

    def __init__(self, places: Places, log: Path) -> None:
        self.url = f"wss://localhost:{places.front}{PATH}"
        self._port = places.front
        self._log = log

    def said(self, text: str) -> bool:
        """Whether it has said so."""
        return text in self._log.read_text()

    async def until_said(self, text: str) -> None:
        """Wait until it has."""
        async with asyncio.timeout(DEADLINE_S):
            while not self.said(text):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)

    async def until_open(self) -> None:
        """Wait until it accepts."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                with contextlib.suppress(ConnectionError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    writer.close()
                    return
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(command: list[str], places: Places, folder: Path) -> AsyncIterator[Balancer]:
    """Run a balancer until the end of the block."""
    log = folder / "balancer.log"
    with log.open("w") as out:
        process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out)
    try:
        balancer = Balancer(places, log)
        await balancer.until_open()
        yield balancer
    finally:
        process.terminate()
        await process.wait()


@dataclass(frozen=True)
class HAProxy:
    """haproxy.cfg: TLS is passed through."""

    file: Path = DEPLOY / "haproxy.cfg"

    def command(self, places: Places, folder: Path, certs: DevCerts) -> list[str]:
        """How to run it with the file as it is, but for its addresses."""
        text = replace(
            self.file.read_text(),
            ("bind :8443", f"bind 127.0.0.1:{places.front}"),
            ("check port 9600", f"check port {places.ops}"),
            *((f"{name}:8443", f"{host}:{places.traffic}") for name, host in places.hosts.items()),
        )
        config = folder / self.file.name
        config.write_text(text)
        return [program("haproxy", "haproxy"), "-db", "-f", str(config)]

    def settings(self, places: Places, name: str, certs: DevCerts) -> dict[str, Any]:
        """What a gateway is configured with: what the file asks for, here."""
        return asked_of_gateways(self.file) | {
            "trusted_proxies": ["127.0.0.0/8"],
            "plain_listen": None,
            "wss_listen": f"{places.hosts[name]}:{places.traffic}",
            "tls_cert": certs.cert,
            "tls_key": certs.key,
        }


@dataclass(frozen=True)
class Nginx:
    """nginx.conf: TLS ends at the balancer."""

    file: Path = DEPLOY / "nginx.conf"

    def command(self, places: Places, folder: Path, certs: DevCerts) -> list[str]:
        """How to run it with the file as it is, but for its addresses and folders."""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "".join(f"    {kind}_temp_path {folder};\n" for kind in kinds)
        text = replace(
            self.file.read_text(),
            ("http {\n", f"http {{\n{folders}"),
            ("pid /run/nginx.pid;", f"pid {folder}/nginx.pid;"),
            ("listen 8443 ssl", f"listen 127.0.0.1:{places.front} ssl"),
            ("/etc/nginx/tls/server.pem", str(certs.cert)),
            ("/etc/nginx/tls/server.key", str(certs.key)),
            *((f"{name}:8080", f"{host}:{places.traffic}") for name, host in places.hosts.items()),
        )
        config = folder / self.file.name
        config.write_text(text)
        nginx = program("nginx", "nginx-light")
        return [nginx, "-e", "stderr", "-p", str(folder), "-c", str(config), "-g", "daemon off;"]

    def settings(self, places: Places, name: str, certs: DevCerts) -> dict[str, Any]:
        """What a gateway is configured with: what the file asks for, here."""
        return asked_of_gateways(self.file) | {
            "trusted_proxies": ["127.0.0.0/8"],
            "plain_listen": f"{places.hosts[name]}:{places.traffic}",
        }


async def start_gateways(
    site: Site, kind: HAProxy | Nginx, places: Places, certs: DevCerts, **changes: Any
) -> dict[str, GatewayProcess]:
    """Both gateways, as the balancer's file wants them, and ready."""
    gateways = {}
    for name, host in places.hosts.items():
        settings = kind.settings(places, name, certs) | {"ops_listen": f"{host}:{places.ops}"}
        gateways[name] = await site.gateway(name, **settings | changes)
        async with asyncio.timeout(DEADLINE_S):
            url = f"http://{host}:{places.ops}/readyz"
            while not await asyncio.to_thread(_ready, url):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
    return gateways


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            return bool(answer.status == 200)
    except OSError:  # nobody listens yet, or it says 503
        return False
