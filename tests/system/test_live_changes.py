"""A certificate and a key are replaced under a running gateway, while its sessions talk."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from homeport import Client, Disconnected, Event, frames
from homeport.limits import PATH

from gateway.dev import certificates
from gateway.dev.certificates import DevCerts
from gateway.security.keyring import Keyring
from gateway.store.keys import Keys
from gateway.store.rows import conversation_of
from gateway.store.stored import parse_message, parse_references
from tests.chunks import chunk_of
from tests.harness import RawClient, client_tls, until
from tests.processes import GatewayProcess
from tests.system.load import Load
from tests.system.site import DEADLINE_S, PATIENCE_S, Front, OpenSite, Site

USERS = 6
EACH = 10
IN_FLIGHT = 4


class Files:
    """What a gateway is configured with, laid out as Kubernetes mounts a secret: links through a
    folder, which is itself a link and is replaced as a whole."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._number = 0
        self.folder = site.folder / "mounted"
        self.folder.mkdir()
        self.cert, self.key = self.folder / "server.pem", self.folder / "server.key"
        self.keyring = self.folder / "keys.json"
        self.bundle = site.folder / "bundle.pem"  # of all CAs so far: what clients trust
        self.made: DevCerts
        self.renew(Path(shutil.copy(site.settings().key_file, site.folder / "keys.json")))
        for path in (self.cert, self.key, self.keyring):
            path.symlink_to(f"..data/{path.name}")

    def renew(self, keyring: Path) -> None:
        """Mount a new certificate, of a new CA, and this keyring."""
        self._number += 1
        version = self.folder / f"..{self._number}"
        version.mkdir()
        self.made = certificates.ensure(version, datetime.now(UTC))
        with self.bundle.open("a") as bundle:
            bundle.write(self.made.ca.read_text())
        shutil.copy(keyring, version / "keys.json")
        link = self.folder / "..new"
        link.symlink_to(version.name)
        link.replace(self.folder / "..data")


async def _shown(gateway: GatewayProcess, files: Files) -> bytes:
    """The certificate that a new connection sees, as DER."""
    port = gateway.urls[0].rpartition(":")[2]
    tls = client_tls(files.bundle)
    _, writer = await asyncio.open_connection(
        "127.0.0.1", int(port), ssl=tls, server_hostname="localhost"
    )
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(shown, bytes)
        return shown
    finally:
        writer.transport.abort()


def _sealed_under(site: Site, user: str) -> list[int]:
    """The key versions of the messages that wait for a user, in their order."""
    found, app_id, keys = [], site.app.id, Keys(site.region)
    with redis.Redis.from_url(site.store.url) as store:
        for ref in parse_references(1, store.lrange(keys.inbox(app_id, user).refs, 0, -1)):
            head = keys.conversation(app_id, conversation_of(user, ref.peer)).head
            value = store.hget(chunk_of(store, head, ref.seq), str(ref.seq))
            record = parse_message(ref.seq, value).record
            assert record is not None
            found.append(int.from_bytes(record[17:19], "big"))  # behind the id and the seal's form
    return found


async def _until_new_key(site: Site, client: Client, user: str) -> int:
    """Send to `user`, who is away, until a message is under key 2; returns how many it took."""
    async with asyncio.timeout(DEADLINE_S):
        number = 0
        while 2 not in _sealed_under(site, user):
            await client.send(user, f"after {number}", timeout=PATIENCE_S)
            number += 1
            await asyncio.sleep(0.05)
        return number


async def _rounds(load: Load, enough: asyncio.Event) -> None:
    """Everybody sends, until it is enough."""
    while not enough.is_set():
        await load.send(EACH, IN_FLIGHT)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("told", [True, False], ids=["SIGHUP", "by itself"])
async def test_a_certificate_and_a_key_are_replaced_under_load(
    open_site: OpenSite, told: bool
) -> None:
    """G1 to G4, G7: every message once and in order, no session ends, and who was away reads what
    was sealed under either key. Once by SIGHUP, once because the gateways look at their files."""
    rng = random.Random(5)
    site = await open_site()
    files = Files(site)
    gateways = [
        await site.gateway(
            name,
            plain_listen=None,
            wss_listen="127.0.0.1:0",
            tls_cert=files.cert,
            tls_key=files.key,
            key_file=files.keyring,
        )
        for name in ("a", "b")
    ]
    carols: list[Event] = []
    async with Front(gateways, rng) as front:
        load = Load(site, front.url, USERS, rng, ssl=client_tls(files.bundle))
        carol = site.client(
            front.url, "carol", on_event=carols.append, ssl=client_tls(files.bundle)
        )
        async with load.running(), carol:
            for number in range(3):
                await carol.send("away", f"before {number}", timeout=PATIENCE_S)
            enough = asyncio.Event()
            sending = asyncio.create_task(_rounds(load, enough))
            await load.until_accepted(USERS * EACH)

            rotated = Path(shutil.copy(files.keyring, site.folder / "rotated.json"))
            Keyring.rotate(rotated, 1)
            files.renew(rotated)
            new = ssl.PEM_cert_to_DER_cert(files.made.cert.read_text())
            if told:
                for gateway in gateways:
                    os.kill(gateway.pid, signal.SIGHUP)
            for gateway in gateways:

                async def shows_it(gateway: GatewayProcess = gateway) -> bool:
                    return await _shown(gateway, files) == new

                await until(shows_it, "the new certificate", DEADLINE_S)
            after = await _until_new_key(site, carol, "away")
            await load.until_accepted(load.accepted + USERS * EACH)
            enough.set()
            await sending
            await load.until_received()
            await load.check()

            sealed = _sealed_under(site, "away")
            assert sealed == sorted(sealed)  # the old key is not sealed with again
            assert sealed[:3] == [1, 1, 1]
            away = site.client(front.url, "away", ssl=client_tls(files.bundle))
            expected = [f"before {number}" for number in range(3)]
            expected += [f"after {number}" for number in range(after)]
            async with away, asyncio.timeout(DEADLINE_S):
                async for message in away.messages():
                    assert message.text == expected.pop(0)
                    if not expected:
                        break
    for events in (carols, *load.events.values()):
        assert not [event for event in events if isinstance(event, Disconnected)]
    log = site.log.read_text()
    assert "reload_refused" not in log
    assert "key_differs" not in log


async def _refused(site: Site, problem: str) -> None:
    """Wait until the log says that a reload was refused for this."""

    def is_said() -> bool:
        whole = site.log.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        found = [line["problem"] for line in lines if line["event"] == "reload_refused"]
        return any(problem in each for each in found)

    await until(is_said, f"a reload that is refused for {problem!r}", DEADLINE_S)


async def test_wrong_files_change_nothing(open_site: OpenSite) -> None:
    """G10: a configuration, a certificate and a key file that can't be used are said to be so, and
    the gateway goes on with what it has, for open connections and for new ones."""
    site = await open_site()
    files = Files(site)
    gateway = await site.gateway(
        plain_listen=None,
        wss_listen="127.0.0.1:0",
        tls_cert=files.cert,
        tls_key=files.key,
        key_file=files.keyring,
    )
    url = f"wss://localhost:{gateway.urls[0].rpartition(':')[2]}{PATH}"
    shown = await _shown(gateway, files)
    config, cert, keyring = site.folder / "a.toml", files.cert, files.keyring
    async with RawClient.open(url, ssl=client_tls(files.bundle)) as alice:
        await alice.connect(site.token("alice"))
        for path, problem in (
            (config, "is not TOML"),
            (cert, "can't be used together"),
            (keyring, "is not a keyring"),
        ):
            good = path.read_bytes()
            path.write_bytes(good[:-30])
            os.kill(gateway.pid, signal.SIGHUP)
            await _refused(site, problem)
            assert isinstance(await alice.say("bob", "still here"), frames.Ok)
            assert await _shown(gateway, files) == shown
            async with RawClient.open(url, ssl=client_tls(files.bundle)) as bob:
                await bob.connect(site.token("bob"))
                assert (await bob.expect(frames.Push)).message.body == b"still here"
            path.write_bytes(good)
    assert gateway.stop() == 0
