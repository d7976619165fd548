"""G6: two regions, two replicas each, side by side, and nothing of one is found in the other."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from homeport import Client, WrongRegion

from tests.harness import until
from tests.processes import GatewayProcess
from tests.system.site import DEADLINE_S, OpenSite, Site, ws
from tests.system.wiretap import Wiretap, holds, tcp_ports

TEE = """
import os, socket
_file = os.open({file!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
_write = os.write
def _tee(real):
    def send(self, data, *rest):
        _write(_file, bytes(data))
        return real(self, data, *rest)
    return send
os.write = _tee(os.write)
for _name in ("send", "sendall", "sendto"):
    setattr(socket.socket, _name, _tee(getattr(socket.socket, _name)))
"""
"""What the processes of a replica tell each other goes through Python's own sockets and pipes; what
they tell clients and Redis through uvloop's, which the test hears at the other end."""


@dataclass(slots=True)
class Region:
    """A region and what was overheard in it."""

    site: Site
    tap: Wiretap
    told: Path
    gateways: list[GatewayProcess] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its code."""
        return self.site.region

    def word(self, what: str) -> str:
        """Something that is said in this region only."""
        self.words.append(f"{what}-{secrets.token_hex(8)}")
        return self.words[-1]

    def secrets(self) -> list[bytes]:
        """What is this region's own: its app, salt, certificates and keys, and what was said."""
        app = self.site.app
        return [
            app.id.encode(),
            app.salt,
            *(certificate.encode() for certificate in app.certificates),
            *self.site.keyring.keys.values(),
            f"hp:{self.name}:".encode(),
            *(word.encode() for word in self.words),
        ]

    def overheard(self) -> dict[str, bytes]:
        """By where it was heard."""
        return {
            "to and from Redis": bytes(self.tap.seen),
            "between processes": self.told.read_bytes(),
            "in the store": b"".join(path.read_bytes() for path in self.site.store.aof.iterdir()),
            "logs": self.site.log.read_bytes(),
        }


async def _talk(region: Region) -> None:
    """Messages, a group, a room and a status, between users at both replicas; live and offline."""
    site, urls = region.site, [ws(gateway) for gateway in region.gateways]
    alice, bob, carol = (region.word(name) for name in ("alice", "bob", "carol"))
    async with contextlib.AsyncExitStack() as stack:

        async def user(name: str, url: str) -> Client:
            return await stack.enter_async_context(site.client(url, name))

        one, two = await user(alice, urls[0]), await user(bob, urls[1])
        room = await stack.enter_async_context(two.room(region.word("room")))
        await one.set_presence("away", status=region.word("lunch"))
        group = await one.create_group(region.word("group"), [bob, carol])
        said = {region.word("direct"), region.word("to-the-group")}
        for to, text in zip((bob, group.peer), sorted(said), strict=True):
            await one.send(to, text, timeout=DEADLINE_S)
        await one.send(carol, region.word("offline"), timeout=DEADLINE_S)
        await room.send(region.word("in-the-room"))
        got: set[bytes] = set()
        async with asyncio.timeout(DEADLINE_S):
            async for message in two.messages():
                got.add(message.body)
                if {text.encode() for text in said} <= got:
                    break


async def test_nothing_crosses(open_site: OpenSite) -> None:
    """G6, G7: every byte to and from each Redis, and between the processes of each replica, holds
    nothing of the other region, and no process has a connection to anywhere else.

    Each region's own app is found in what was overheard there: the search finds.
    """
    async with contextlib.AsyncExitStack() as stack:
        regions = []
        for name in ("sg", "eu"):
            site = await open_site(name)
            tap = await stack.enter_async_context(Wiretap(site.store.server.socket).open())
            region = Region(site, tap, site.folder / "told")
            region.gateways = [
                await site.gateway(
                    replica,
                    patch=TEE.format(file=str(region.told)),
                    redis_url=tap.url,
                    workers=2,
                    ops_listen="127.0.0.1:0",
                )
                for replica in ("a", "b")
            ]
            regions.append(region)
        await asyncio.gather(*map(_talk, regions))
        for region, other in (regions, regions[::-1]):
            with pytest.raises(WrongRegion):  # its token reaches the other's gateway, no further
                async with region.site.client(ws(other.gateways[0]), region.word("stray")):
                    pass
        for region in regions:
            listening = {int(gateway.urls[0].rpartition(":")[2]) for gateway in region.gateways}
            pids = [pid for gateway in region.gateways for pid in [gateway.pid, *gateway.workers]]
            connections = tcp_ports(pids)
            assert {remote for _, remote in connections if remote == region.tap.port}
            assert not [
                ports
                for ports in connections
                if ports[1] != region.tap.port and ports[0] not in listening
            ]
            for gateway in region.gateways:
                assert gateway.stop() == 0
        await until(lambda: all(region.told.stat().st_size for region in regions))
    for region, other in (regions, regions[::-1]):
        heard = region.overheard()
        crossed = {
            place: secret
            for place, content in heard.items()
            for secret in other.secrets()
            if holds(content, secret)
        }
        assert not crossed, f"of {other.name} in {region.name}"
        own = region.site.app.id.encode()
        assert holds(heard["to and from Redis"], own)
        assert holds(heard["in the store"], own)
        texts = [w for w in region.words if w.split("-")[0] in ("direct", "to", "offline", "in")]
        assert not [text for text in texts if holds(heard["to and from Redis"], text.encode())]
