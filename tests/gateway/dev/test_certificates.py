"""The dev CA: a client that trusts it, and only that, reaches this machine, and only this."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from gateway.dev import certificates
from gateway.dev.certificates import DevCerts


def handshake(certs: DevCerts, name: str, ca: Path) -> str:
    """One TLS handshake over a socket pair; returns the protocol version agreed on."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certs.cert, certs.key)
    client = ssl.create_default_context(cafile=ca)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(far, server_side=True).close()
        except OSError:  # the client refused: its side of the test says so
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(near, server_hostname=name) as tls:
            return tls.version() or ""
    finally:
        near.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_client_that_trusts_the_ca_connects(tmp_path: Path, name: str) -> None:
    """`homeport dev` serves WSS that any strict TLS client accepts with its CA file."""
    certs = certificates.ensure(tmp_path, datetime.now(UTC))
    assert handshake(certs, name, certs.ca) == "TLSv1.3"


def test_another_name_is_refused(tmp_path: Path) -> None:
    """The certificate is for this machine's own names only."""
    certs = certificates.ensure(tmp_path, datetime.now(UTC))
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(certs, "chat.example.com", certs.ca)


def test_another_folders_ca_is_refused(tmp_path: Path) -> None:
    """Each folder has a CA of its own."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours = certificates.ensure(tmp_path / "a", datetime.now(UTC))
    other = certificates.ensure(tmp_path / "b", datetime.now(UTC))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(ours, "localhost", other.ca)


def test_files_are_private_and_the_ca_key_is_nowhere(tmp_path: Path) -> None:
    """A stolen folder can imitate this machine's gateway, but sign nothing new."""
    certs = certificates.ensure(tmp_path, datetime.now(UTC))
    assert {path.name for path in tmp_path.iterdir()} == {"ca.pem", "server.pem", "server.key"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    ca = x509.load_pem_x509_certificate(certs.ca.read_bytes())
    limits = ca.extensions.get_extension_for_class(x509.NameConstraints)
    assert limits.critical
    assert x509.DNSName("localhost") in (limits.value.permitted_subtrees or [])


def test_they_are_kept_until_they_are_about_to_expire(tmp_path: Path) -> None:
    """A browser that trusts the CA goes on doing so; nobody meets an expired certificate."""
    now = datetime.now(UTC)
    certs = certificates.ensure(tmp_path, now)
    first = certs.ca.read_bytes()
    certificates.ensure(tmp_path, now + timedelta(days=380))
    assert certs.ca.read_bytes() == first
    certificates.ensure(tmp_path, now + timedelta(days=384))
    assert certs.ca.read_bytes() != first


@pytest.mark.parametrize("damage", ["missing", "cut", "foreign"])
@pytest.mark.parametrize("name", ["ca.pem", "server.pem", "server.key"])
def test_a_damaged_set_is_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    """After a crash between two of the files the set does not fit together: it is replaced."""
    now = datetime.now(UTC)
    certs = certificates.ensure(tmp_path, now)
    broken = tmp_path / name
    if damage == "missing":
        broken.unlink()
    elif damage == "cut":
        broken.write_bytes(broken.read_bytes()[:100])
    else:
        (tmp_path / "other").mkdir()
        certificates.ensure(tmp_path / "other", now)
        broken.write_bytes((tmp_path / "other" / name).read_bytes())
    certs = certificates.ensure(tmp_path, now)
    assert handshake(certs, "localhost", certs.ca) == "TLSv1.3"
