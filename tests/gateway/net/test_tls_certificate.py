"""A new certificate under a listener that is in use: who sees which, and what is refused."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from homeport import frames
from structlog.testing import capture_logs

from gateway.dev import certificates
from gateway.dev.certificates import DevCerts
from gateway.net.tls import Certificate, TLSError
from tests.gateway.net.raw import upgrade
from tests.harness import RawClient, RunningWorker, client_tls, make_secure_settings, running_worker
from tests.terminal import on_a_terminal

NOW = datetime.now(UTC)


def make(folder: Path, now: datetime = NOW) -> DevCerts:
    """A certificate for localhost with an EC key, good from `now`, and its CA."""
    folder.mkdir()
    return certificates.ensure(folder, now)


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
    certificate = Certificate(certs.cert, certs.key, NOW)
    assert certificate.prepare(certs.cert, certs.key, NOW) is None
    with pytest.raises(TLSError, match="can't be used together"):
        certificate.prepare(new.cert, certs.key, NOW)
    with pytest.raises(TLSError, match=r"server\.pem is good from .* and not now: renew it"):
        certificate.prepare(over.cert, over.key, NOW)
    with pytest.raises(TLSError, match=r"none\.key is not there: set tls_cert"):
        certificate.prepare(new.cert, tmp_path / "none.key", NOW)
    assert certificate.prepare(new.cert, new.key, NOW) is not None


def issue(
    folder: Path,
    *,
    begins: int = -1,
    ends: int = 30,
    names: bool = True,
    usage: ObjectIdentifier | None = None,
    password: bytes | None = None,
    issuer: str = "localhost",
) -> tuple[Path, Path]:
    """A certificate good from `begins` days from now to `ends`, and its key, with a password."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=begins))
        .not_valid_after(NOW + timedelta(days=ends))
    )
    if names:
        found = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        builder = builder.add_extension(found, critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    sealed = NoEncryption() if password is None else BestAvailableEncryption(password)
    pems = DevCerts(folder / "none", folder / "leaf.pem", folder / "leaf.key")
    pems.cert.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    pems.key.touch(0o600)
    pems.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))
    return pems.cert, pems.key


def problems(cert: Path, key: Path, now: datetime = NOW) -> list[str]:
    """What the log says as a gateway starts with these."""
    with capture_logs() as said:
        Certificate(cert, key, now)
    assert all((e["event"], e["log_level"]) == ("certificate_problem", "error") for e in said)
    return [event["problem"] for event in said]


async def test_a_key_with_a_password_is_refused_and_no_terminal_is_asked(
    tmp_path: Path, secure: RunningWorker, certs: DevCerts
) -> None:
    """G10: a renewed key came encrypted to a gateway in tmux. OpenSSL asked there for its password,
    in the event loop, and until somebody came to type, nobody was served."""
    cert, key = issue(tmp_path / "new", password=b"secret")
    program = (
        "from pathlib import Path; from gateway.net import tls\n"
        f"try: tls.read(Path({str(cert)!r}), Path({str(key)!r}))\n"
        "except tls.TLSError as error: print(error)"
    )
    shown = await asyncio.to_thread(on_a_terminal, program)
    assert shown.startswith(f"{key} is encrypted, and a gateway can't ask for its password")
    assert "phrase" not in shown
    old = der(certs.cert)
    put(DevCerts(certs.ca, cert, key), certs)
    with capture_logs() as said:
        await reload(secure)
    assert "is encrypted" in said[0]["problem"]
    assert (await shake_hands(secure, client_tls(certs.ca))).certificate == old


def put_no_file(path: Path, what: str) -> None:
    """Put something in the place of a file that can't be read as one."""
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "endless":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)


@pytest.mark.parametrize("which", ["cert", "key"])
@pytest.mark.parametrize("what", ["pipe", "folder", "endless", "huge"])
async def test_what_is_no_file_is_refused_while_everybody_is_served(
    secure: RunningWorker, certs: DevCerts, which: str, what: str
) -> None:
    """G10: to read a pipe in the event loop is to wait until somebody writes into it."""
    path: Path = getattr(certs, which)
    old, trusts = der(certs.cert), client_tls(certs.ca)
    put_no_file(path, what)
    async with asyncio.timeout(10):
        with capture_logs() as said:
            await reload(secure)
    assert f"{path} can't be read" in said[0]["problem"]
    assert (await shake_hands(secure, trusts)).certificate == old


def test_a_start_says_what_a_reload_would_refuse(tmp_path: Path) -> None:
    """An expired certificate, or one that begins tomorrow, was served without a word: no client
    came in, and neither start nor log said why."""
    for folder, days in (("over", (-9, -1)), ("early", (1, 9))):
        cert, key = issue(tmp_path / folder, begins=days[0], ends=days[1])
        (problem,) = problems(cert, key)
        assert re.fullmatch(r".*leaf\.pem is good from .* UTC, and not now: renew it, .*", problem)
    assert problems(*issue(tmp_path / "good")) == []


def test_a_start_says_why_clients_will_refuse(tmp_path: Path) -> None:
    """What is wrong whatever the time is, each by itself."""
    (nameless,) = problems(*issue(tmp_path / "nameless", names=False))
    assert "has no subjectAltName, so clients accept it for no name (RFC 9525" in nameless
    usage = ExtendedKeyUsageOID.CLIENT_AUTH
    (personal,) = problems(*issue(tmp_path / "personal", usage=usage))
    assert "is not for servers" in personal
    assert problems(*issue(tmp_path / "server", usage=ExtendedKeyUsageOID.SERVER_AUTH)) == []
    cert, key = issue(tmp_path / "open")
    key.chmod(0o644)
    assert problems(cert, key) == [
        f"{key} has mode 0644, so others may get at the certificate's key; run: chmod 600 {key}"
    ]


def test_a_start_looks_at_the_whole_chain(tmp_path: Path) -> None:
    """Clients refuse for an issuer that expired, or one that is missing, as for the leaf."""
    cert, key = issue(tmp_path / "leaf", issuer="issuer")
    over, _ = issue(tmp_path / "over", begins=-9, ends=-1)
    alone = cert.read_bytes()
    cert.write_bytes(alone + over.read_bytes())
    expired, order = problems(cert, key)
    assert expired.startswith(f"certificate 2 of {cert} is good from ")
    assert order.startswith(f"certificate 1 of {cert} was not issued by the one that follows it")


def test_a_reload_never_makes_it_worse(tmp_path: Path) -> None:
    """One that is out of date does not replace one that is not; where both are, which is how a
    wrong clock looks, the newer one is taken, and said."""
    good, over = issue(tmp_path / "good"), issue(tmp_path / "over", begins=-9, ends=-1)
    with pytest.raises(TLSError, match="and not now"):
        Certificate(*good, NOW).prepare(*over, NOW)
    other = issue(tmp_path / "other", begins=-9, ends=-2)
    certificate = Certificate(*over, NOW)
    take_up = certificate.prepare(*other, NOW)
    assert take_up is not None
    with capture_logs() as said:
        take_up()
    assert [event["event"] for event in said] == ["certificate_read", "certificate_problem"]
