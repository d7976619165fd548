"""TLS, with a certificate authority of our own."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from homeport import ConnectFailed, Disconnected

from tests.certificates import Authority
from tests.harness import client_tls
from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import running


def make_ca(folder: Path, host: str) -> tuple[Path, ssl.SSLContext]:
    """A CA's PEM file, and the TLS context of a server whose certificate it signed for `host`."""
    authority = Authority(folder, "test")
    issued = authority.issue("server", host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert, issued.key)
    return authority.ca, context


async def test_a_private_ca(setting: Setting, tmp_path: Path) -> None:
    """As the documentation of `Client` says it; several clients share the context."""
    ca_file, tls = make_ca(tmp_path, "localhost")
    context = client_tls(ca_file)
    async with running(tls) as setting.server:
        for _ in range(2):
            async with setting.live(ssl=context) as (client, peer):
                await peer.push(1)
                assert (await anext(client.messages())).text == "1"


async def test_a_certificate_nobody_vouches_for(setting: Setting, tmp_path: Path) -> None:
    """Without `ssl` the system's CAs count; the token is not sent, and trying again is vain."""
    _, tls = make_ca(tmp_path, "localhost")
    async with running(tls) as server:
        with pytest.raises(ConnectFailed, match="certificate"):
            await setting.client(url=server.url).__aenter__()
        assert server.peers.empty()


async def test_a_certificate_of_another_host(setting: Setting, tmp_path: Path) -> None:
    """A trusted CA is not enough: the name must be the URL's (RFC 9525)."""
    ca_file, tls = make_ca(tmp_path, "other.example")
    async with running(tls) as server:
        with pytest.raises(ConnectFailed, match="localhost"):
            await setting.client(url=server.url, ssl=client_tls(ca_file)).__aenter__()


async def test_the_wrong_one_of_ws_and_wss(setting: Setting, tmp_path: Path) -> None:
    """A program with ws:// at a port for wss:// was told of "a valid HTTP response", and the other
    way round of nothing but a reset connection."""
    ca_file, tls = make_ca(tmp_path, "localhost")
    async with running(tls) as speaks, running(None) as plain:
        trusting = client_tls(ca_file)
        for url, context, advice in (
            (speaks.url.replace("wss:", "ws:"), None, "write wss:// for ws://"),
            (plain.url.replace("ws:", "wss:"), trusting, "write ws:// for wss://"),
        ):
            entering = asyncio.create_task(setting.client(url=url, ssl=context).__aenter__())
            told = await setting.events.next(Disconnected)
            entering.cancel()
            await asyncio.wait([entering])
            assert advice in told.reason
