"""The server's TLS context, and how a new certificate takes the place of the old one."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog
from cryptography import x509

from gateway.config import Settings

_log = structlog.get_logger("net")


class TLSError(Exception):
    """The certificate or its key can't be used. The text names the file and what to do."""


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 with `certificate` (PEM, the chain in order) and its `key` (PEM).

    Session tickets are on, so that a reconnect storm costs a fraction of as many full handshakes
    (RFC 8446 section 2.2).

    Raises:
        TLSError: a file is missing, unreadable, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = (
        1  # a client takes up its session once: a second ticket is 25 us for nothing
    )
    for path in (certificate, key):
        if not path.is_file():
            raise TLSError(f"{path} is not there: set tls_cert and tls_key to PEM files")
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise TLSError(
            f"{certificate} and {key} can't be used together ({error}): "
            "give a PEM certificate chain and the unencrypted key that belongs to it"
        ) from error
    return context


def validity(certificate: Path) -> tuple[datetime, datetime]:
    """From when until when the first certificate of a PEM file is good.

    Raises:
        OSError, ValueError: there is none to be read.
    """
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    return found.not_valid_before_utc, found.not_valid_after_utc


class Certificate:
    """The files of a running gateway's certificate, and the `context` made of them.

    `adopt` is given each new context. A new one, and not the old one loaded anew: OpenSSL keeps a
    certificate for each kind of key, so an RSA one would be shown on beside its ECDSA successor.
    With the old context go its session tickets: a client that comes back with one shakes hands in
    full, and sees the new certificate (RFC 8446 section 4.2.11).
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises `TLSError`, as `server_context`."""
        # Read before it is loaded: what is written between the two is found changed the next time.
        self._digest = _digest(certificate, key)
        self.context = server_context(certificate, key)
        self.adopt: Callable[[ssl.SSLContext], None] = _nobody

    @classmethod
    def of(cls, settings: Settings) -> Certificate | None:
        """What the WSS listener shows; None where there is none. Raises `TLSError`."""
        if settings.wss_listen is None or not settings.tls_cert or not settings.tls_key:
            return None
        return cls(settings.tls_cert, settings.tls_key)

    def prepare(self, certificate: Path, key: Path, now: datetime) -> Callable[[], None] | None:
        """Read the files; returns what takes them up, or None where nothing changed in them.

        Raises:
            TLSError: they can't be used, or the certificate is not valid at `now`.
        """
        digest = _digest(certificate, key)
        if digest == self._digest:
            return None
        context = server_context(certificate, key)
        try:
            begins, ends = validity(certificate)
        except (OSError, ValueError) as error:
            raise TLSError(f"{certificate} can't be read: give a PEM certificate chain") from error
        if not begins <= now < ends:
            raise TLSError(
                f"{certificate} is good from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC, "
                "and not now: renew it, and look at this machine's clock"
            )
        return partial(self._take_up, digest, context, ends)

    def _take_up(self, digest: bytes, context: ssl.SSLContext, ends: datetime) -> None:
        self._digest = digest
        self.context = context
        self.adopt(context)
        _log.info("certificate_read", expires=f"{ends:%Y-%m-%dT%H:%M:%SZ}")


def _digest(certificate: Path, key: Path) -> bytes:
    try:
        contents = certificate.read_bytes(), key.read_bytes()
    except OSError as error:
        raise TLSError(
            f"{error.filename} can't be read ({error.strerror}): "
            "set tls_cert and tls_key to PEM files"
        ) from error
    return hashlib.sha256(b"%d %b%b" % (len(contents[0]), *contents)).digest()


def _nobody(context: ssl.SSLContext) -> None:
    """Nothing listens with TLS yet."""
