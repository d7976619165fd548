"""TLS, with a certificate authority of our own."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from homeport import ConnectFailed, Disconnected

from tests.harness import client_tls
from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import running

_NOW = datetime.datetime.now(datetime.UTC)


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    is_ca = name == issuer
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - datetime.timedelta(hours=1))
        .not_valid_after(_NOW + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return builder.sign(signer, hashes.SHA256())


def make_ca(folder: Path, host: str) -> tuple[Path, ssl.SSLContext]:
    """A CA's PEM file, and the TLS context of a server whose certificate it signed for `host`."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _certificate("test ca", ca_key, "test ca", ca_key)
    certificate = _certificate(host, key, "test ca", ca_key)
    pem = serialization.Encoding.PEM
    ca_file, chain_file = folder / "ca.pem", folder / "server.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain_file.write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain_file)
    return ca_file, context


async def test_a_private_ca(setting: Setting, tmp_path: Path) -> None:
    """As the documentation of `Client` says it; several clients share the context."""
    ca_file, tls = make_ca(tmp_path, "localhost")
    context = client_tls(ca_file)
    async with running(tls) as setting.server:
        for _ in range(2):
            async with setting.live(ssl=context) as (client, peer):
                await peer.push(1)
                assert (await anext(client.messages())).seq == 1


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
