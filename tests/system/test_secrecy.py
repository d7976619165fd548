"""G7: whatever is searched for in the store and the logs, it is not there."""

from __future__ import annotations

import asyncio
import base64
import codecs
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import redis
import redis.asyncio
from homeport import frames

from gateway.security import tokens
from tests.harness import RawClient, until
from tests.system.site import OpenSite, Site, ws
from tests.system.wiretap import holds


def _found(secret: bytes, places: dict[str, bytes]) -> list[str]:
    """The places that hold `secret` in one of its forms."""
    return [name for name, content in places.items() if holds(content, secret)]


class Monitor:
    """``MONITOR`` of the whole run, as Redis writes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen = bytearray()
        self._reader = reader
        self._writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, site: Site) -> AsyncIterator[Monitor]:
        """Watch until the end of the block."""
        reader, writer = await asyncio.open_unix_connection(str(site.store.server.socket))
        monitor = cls(reader, writer)
        writer.write(b"MONITOR\r\n")
        assert await reader.readline() == b"+OK\r\n"
        task = asyncio.create_task(monitor.read())
        try:
            yield monitor
        finally:
            writer.close()
            await task

    async def read(self) -> None:
        """Note what it says, until it is closed."""
        while data := await self._reader.read(65536):
            self.seen += data


def _everything(client: Any) -> bytes:
    """Each key, its value serialized by Redis, and its value as a client reads it."""
    read: dict[bytes, Callable[[bytes], object]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"stream": client.xrange,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
    }
    parts = []
    for key in client.scan_iter(count=1000):
        parts += [key, client.dump(key), *_flat(read[client.type(key)](key))]
    return b"\n".join(parts)


def _flat(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for item in value.items():
            yield from _flat(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _flat(item)


async def _use_all_of_it(site: Site, canary: str, kind: str) -> list[str]:
    """Bodies and kinds live and offline, refused frames, all sorts of tokens; returns these."""
    gateway = await site.gateway(log_level="debug")
    used = {name: site.token(name) for name in ("alice", "bob", "carol")}
    used["expired"] = tokens.mint(
        site.app.id, site.app.certificates[0], site.region, "dave", time.time() - 7200, 3600
    )
    bearer = {"Authorization": f"Bearer {used['carol']}"}

    async def send(client: RawClient, to: str, body: str) -> frames.ServerFrame:
        name = secrets.token_hex(8)
        return await client.answer(frames.Send, name, to, kind, f"{body}{canary}".encode())

    async with (
        RawClient.open(ws(gateway)) as alice,
        RawClient.open(ws(gateway)) as bob,
        RawClient.open(ws(gateway), additional_headers=bearer) as carol,
    ):
        await alice.connect(used["alice"], client=f"app {canary}")
        await bob.connect(used["bob"])
        await carol.connect(None)
        for to in ("bob", "alice", "nobody-yet", "carol"):
            assert isinstance(await send(alice, to, ""), frames.Ok)
        assert (await bob.expect(frames.Push)).message.body == canary.encode()
        await bob.send(frames.Ack(1))
        assert isinstance(await send(alice, f"g:{canary}", ""), frames.Error)
        assert isinstance(await send(alice, "bob", "x" * site.app.tier.max_body), frames.Error)
        await alice.send(frames.Renew(alice.request_id(), used["alice"]))
        await alice.until(frames.Ok)
        await alice.send(frames.Renew(alice.request_id(), used["bob"]))
        await alice.until(frames.Error)
        await bob.send(b"\x94\x10" + canary.encode())  # malformed
        await bob.closed()
        await carol.send(canary)  # a text message
        await carol.closed()
    async with RawClient.open(ws(gateway)) as dave:
        await dave.send(frames.Connect(1, "d1", used["expired"]))
        await dave.expect(frames.Error)
    gateway.kill()
    gateway.start()
    async with RawClient.open(ws(gateway)) as nobody:
        used["offline"] = site.token("nobody-yet")
        await nobody.connect(used["offline"])
        assert (await nobody.expect(frames.Push)).message.kind == kind
    assert gateway.stop() == 0
    return list(used.values())


async def test_a_canary_is_found_nowhere(open_site: OpenSite) -> None:
    """G7: not what users wrote, not a token, not a certificate: not in the keys, the dump, the
    append-only file, the commands and publishes of the whole run, or the gateways' logs.

    A second canary, which the test puts into the store itself, shows that the search finds.
    """
    plain = ("--rdbcompression", "no", "--appendfsync", "always")
    canary, kind, planted = (secrets.token_hex(n) for n in (24, 15, 24))
    site = await open_site(store_options=plain)
    async with Monitor.of(site) as monitor:
        with redis.Redis.from_url(site.store.url) as client:
            client.set("planted", planted)
        async with site.admin() as admin:
            old = site.app.certificates
            site.app = await admin.apps.rotate_certificate(site.app.id, int(time.time() * 1000))
        used = await _use_all_of_it(site, canary, kind)
        with redis.Redis.from_url(site.store.url) as client:
            keys = _everything(client)
            client.save()
            client.echo("the end")
            await until(lambda: b'"the end"' in monitor.seen)
    places = {
        "keys": keys,
        "dump": (site.store.server.data_dir / "dump.rdb").read_bytes(),
        "append-only file": _contents(site.store.aof),
        "monitor": codecs.escape_decode(bytes(monitor.seen))[0],  # it writes bytes as \\xNN
        "logs": site.log.read_bytes() + site.store.server.log.read_bytes(),
    }
    stored = [name for name in places if name != "logs"]
    assert _found(planted.encode(), places) == stored
    assert _found(bytes.fromhex(planted), {"base64": base64.b64encode(bytes.fromhex(planted))})
    assert [name for name, content in places.items() if b"refs:" in content] == stored
    assert b"token_expired" in places["logs"]  # so they are the logs of this run

    assert len(used) == 5
    secret = [canary, kind, *used, *(token.rpartition(".")[2] for token in used)]
    for text in [*secret, *site.app.certificates, *old]:
        assert _found(text.encode(), places) == []
    for certificate in {*site.app.certificates, *old}:  # as the 32 bytes that it stands for
        assert _found(bytes.fromhex(certificate), places) == []
    for key in site.keyring.keys.values():
        assert _found(key, places) == []
    assert _found(site.app.salt, places) == []


def _contents(folder: Path) -> bytes:
    files = sorted(folder.iterdir())
    assert files
    return b"\n".join(file.read_bytes() for file in files)
