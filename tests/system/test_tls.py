"""WSS end to end, with the development CA."""

from __future__ import annotations

import asyncio
import ssl
import time
import warnings
from datetime import UTC, datetime

import pytest
from homeport import ConnectFailed, frames
from homeport.limits import PATH

from gateway.dev import certificates
from tests.harness import ANSWER_S, RawClient, client_tls
from tests.processes import GatewayProcess
from tests.system.site import DEADLINE_S, OpenSite, Site


class Secure:
    """A site with a gateway that speaks TLS only."""

    def __init__(self, site: Site, certs: certificates.DevCerts, gateway: GatewayProcess) -> None:
        self.site = site
        self.certs = certs
        (address,) = gateway.urls
        assert address.startswith("wss://")
        self.port = int(address.rpartition(":")[2])
        self.url = f"wss://localhost:{self.port}{PATH}"


@pytest.fixture
async def secure(open_site: OpenSite) -> Secure:
    """A WSS listener with a certificate for localhost."""
    site = await open_site()
    folder = site.folder / "tls"
    folder.mkdir()
    certs = certificates.ensure(folder, datetime.now(UTC))
    gateway = await site.gateway(
        plain_listen=None, wss_listen="127.0.0.1:0", tls_cert=certs.cert, tls_key=certs.key
    )
    return Secure(site, certs, gateway)


async def _first_byte(secure: Secure, version: ssl.TLSVersion) -> int | None:
    """The type of the record that answers a ClientHello of this version only (RFC 8446 section
    5.1), or None where the server says nothing and closes."""
    tls = ssl.create_default_context()
    tls.set_ciphers("DEFAULT:@SECLEVEL=0")  # or OpenSSL would not even offer TLS 1.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = tls.maximum_version = version
    hello = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        tls.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", secure.port)
    try:
        async with asyncio.timeout(ANSWER_S):
            writer.write(hello.read())
            return (await reader.readexactly(1))[0]
    except (ConnectionResetError, asyncio.IncompleteReadError):
        return None
    finally:
        writer.transport.abort()


async def test_tls_1_2_and_1_3_and_nothing_older(secure: Secure) -> None:
    """Section 2.1, "TLS is part of it": both versions carry a message; the server does not shake
    hands in 1.1."""
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        tls = client_tls(secure.certs.ca)
        tls.minimum_version = tls.maximum_version = version
        async with RawClient.open(secure.url, ssl=tls) as alice:
            assert alice.websocket.transport.get_extra_info("ssl_object").version() == name
            await alice.connect(secure.site.token("alice"))
            assert isinstance(await alice.say("alice", name), frames.Ok)
    handshake, alert = 22, 21
    assert await _first_byte(secure, ssl.TLSVersion.TLSv1_2) == handshake
    assert await _first_byte(secure, ssl.TLSVersion.TLSv1_1) in (alert, None)


async def test_the_sdk_with_the_ca(secure: Secure) -> None:
    """A message from one SDK client to another, over TLS."""
    alice = secure.site.client(secure.url, "alice", ssl=client_tls(secure.certs.ca))
    bob = secure.site.client(secure.url, "bob", ssl=client_tls(secure.certs.ca))
    async with alice, bob:
        sent = await alice.send("bob", "hello", timeout=DEADLINE_S)
        async for message in bob.messages():
            assert (message.id, message.text) == (sent.id, "hello")
            assert abs(message.time / 1000 - time.time()) < DEADLINE_S
            break


async def test_the_sdk_refuses_a_server_of_another_ca(secure: Secure) -> None:
    """G8: a token is not given to a server whose certificate the given CA did not sign."""
    folder = secure.site.folder / "other"
    folder.mkdir()
    other = certificates.ensure(folder, datetime.now(UTC))
    for tls in (client_tls(other.ca), None):  # None: the system's CAs, which do not know ours
        with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED") as raised:
            async with secure.site.client(secure.url, "alice", ssl=tls):
                pass
        assert isinstance(raised.value.__cause__, ssl.SSLCertVerificationError)
    assert "closed" not in secure.site.log.read_text()  # no session ever began
