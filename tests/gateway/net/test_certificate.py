"""A new certificate under a listener that is in use: who sees which, and what is refused."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.net.tls import Certificate, TLSError
from gateway.runtime import devcerts
from gateway.runtime.devcerts import DevCerts
from protocol import frames
from tests.gateway.net.raw import upgrade
from tests.harness import RawClient, RunningWorker, client_tls, make_secure_settings, running_worker

NOW = datetime.now(UTC)


def make(folder: Path, now: datetime = NOW) -> DevCerts:
    """A certificate for localhost with an EC key, good from `now`, and its CA."""
    folder.mkdir()
    return devcerts.ensure(folder, now)


def make_rsa(folder: Path) -> DevCerts:
    """One with an RSA key, which is its own CA."""
    certs = make(folder)
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(hours=1))
        .not_valid_after(NOW + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    certs.cert.write_bytes(cert)
    certs.ca.write_bytes(cert)
    certs.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certs


def put(new: DevCerts, old: DevCerts) -> None:
    """Put new files in the place of the old ones."""
    shutil.copy(new.cert, old.cert)
    shutil.copy(new.key, old.key)


@pytest.fixture
def certs(tmp_path: Path) -> DevCerts:
    """What the gateway begins with."""
    return make(tmp_path / "certs")


@pytest.fixture
async def secure(redis_url: str, tmp_path: Path, certs: DevCerts) -> AsyncIterator[RunningWorker]:
    """A gateway with a WSS listener."""
    settings = make_secure_settings(redis_url, tmp_path, certs)
    async with running_worker(settings) as running:
        yield running


async def reload(running: RunningWorker) -> None:
    """As at SIGHUP."""
    running.worker.reloading.ask()
    await running.worker.reloading.look()


class Seen:
    """What a client saw of one connection."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self.certificate = tls.getpeercert(binary_form=True)
        self.ticket = tls.session
        self.resumed = bool(tls.session_reused)


async def shake_hands(
    running: RunningWorker, context: ssl.SSLContext, ticket: ssl.SSLSession | None = None
) -> Seen:
    """Connect, until the server's ticket has come."""
    assert running.listening.wss is not None
    port = running.listening.wss.port

    def connect() -> Seen:
        with (
            socket.create_connection(("127.0.0.1", port)) as tcp,
            context.wrap_socket(tcp, server_hostname="localhost", session=ticket) as tls,
        ):
            tls.sendall(upgrade())
            assert tls.recv(12) == b"HTTP/1.1 101"
            return Seen(tls)

    return await asyncio.to_thread(connect)


def der(path: Path) -> bytes:
    """The certificate in a PEM file as it goes over the wire."""
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


async def test_new_connections_see_the_new_certificate_and_open_ones_live_on(
    secure: RunningWorker, certs: DevCerts, tmp_path: Path
) -> None:
    """G10: nobody has to reconnect because a certificate is renewed."""
    new = make(tmp_path / "new")
    old_serial = der(certs.cert)
    async with RawClient.open(secure.wss_url, ssl=client_tls(certs.ca)) as alice:
        await alice.connect(secure.token("alice"))
        put(new, certs)
        await reload(secure)
        async with RawClient.open(secure.wss_url, ssl=client_tls(new.ca)) as bob:
            await bob.connect(secure.token("bob"))
            shown = bob.websocket.transport.get_extra_info("ssl_object").getpeercert(True)
            assert shown == der(new.cert) != old_serial
            assert isinstance(await alice.say("bob", "x" * 30_000), frames.Ok)
            assert len((await bob.expect(frames.Push)).message.body) == 30_000
            assert isinstance(await bob.say("alice", "y"), frames.Ok)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_sessions_are_resumed_before_and_after(
    secure: RunningWorker, certs: DevCerts, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """G10: a reconnect storm still costs resumptions (RFC 8446 section 2.2). A ticket from before
    the change costs a handshake in full, in which the new certificate is seen."""
    new = make(tmp_path / "new")
    context = client_tls(certs.ca)
    context.load_verify_locations(new.ca)
    context.maximum_version = context.minimum_version = version
    first = await shake_hands(secure, context)
    assert (await shake_hands(secure, context, first.ticket)).resumed
    put(new, certs)
    await reload(secure)
    second = await shake_hands(secure, context, first.ticket)
    assert (second.resumed, second.certificate) == (False, der(new.cert))
    assert (await shake_hands(secure, context, second.ticket)).resumed


async def test_a_certificate_of_another_kind_of_key_replaces_the_old_one_wholly(
    redis_url: str, tmp_path: Path
) -> None:
    """G8: OpenSSL keeps one for each kind. A client that knows RSA only must not go on seeing the
    old one, which will expire, or whose key leaked."""
    certs, new = make_rsa(tmp_path / "rsa"), make(tmp_path / "ec")
    settings = make_secure_settings(redis_url, tmp_path, certs)
    rsa_only = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    rsa_only.load_verify_locations(certs.ca)
    rsa_only.maximum_version = ssl.TLSVersion.TLSv1_2
    rsa_only.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    async with running_worker(settings) as running:
        assert (await shake_hands(running, rsa_only)).certificate == der(certs.cert)
        put(new, certs)
        await reload(running)
        assert (await shake_hands(running, client_tls(new.ca))).certificate == der(new.cert)
        with pytest.raises(ssl.SSLError):
            await shake_hands(running, rsa_only)


async def test_files_that_cannot_be_used_change_nothing(
    secure: RunningWorker, certs: DevCerts, tmp_path: Path
) -> None:
    """G10: also where one of the two is good, so that nothing is half changed."""
    new, over = make(tmp_path / "new"), make(tmp_path / "over", NOW - timedelta(days=400))
    early = make(tmp_path / "early", NOW + timedelta(days=2))
    good = DevCerts(certs.ca, tmp_path / "good.pem", tmp_path / "good.key")
    put(certs, good)
    old, trusts_old = der(certs.cert), client_tls(certs.ca)
    first = await shake_hands(secure, trusts_old)
    for cert, key in (
        (new.cert, certs.key),
        (good.cert, new.key),
        (over.cert, over.key),
        (early.cert, early.key),
        (Path(os.devnull), new.key),
    ):
        certs.cert.write_bytes(cert.read_bytes())
        certs.key.write_bytes(key.read_bytes())
        await reload(secure)
        seen = await shake_hands(secure, trusts_old, first.ticket)
        assert (seen.resumed, seen.certificate) == (True, old)
        put(good, certs)
    certs.key.unlink()
    await reload(secure)
    assert (await shake_hands(secure, trusts_old)).certificate == old
    put(new, certs)
    await reload(secure)
    assert (await shake_hands(secure, client_tls(new.ca))).certificate == der(new.cert)


def test_what_is_refused_is_said(tmp_path: Path, certs: DevCerts) -> None:
    """The operator is told which file, what is wrong with it, and what to do."""
    new, over = make(tmp_path / "new"), make(tmp_path / "over", NOW - timedelta(days=400))
    certificate = Certificate(certs.cert, certs.key)
    assert certificate.prepare(certs.cert, certs.key, NOW) is None
    with pytest.raises(TLSError, match="can't be used together"):
        certificate.prepare(new.cert, certs.key, NOW)
    with pytest.raises(TLSError, match=r"server\.pem is good from .* and not now: renew it"):
        certificate.prepare(over.cert, over.key, NOW)
    with pytest.raises(TLSError, match=r"none\.key can't be read \(No such file"):
        certificate.prepare(new.cert, tmp_path / "none.key", NOW)
    assert certificate.prepare(new.cert, new.key, NOW) is not None
