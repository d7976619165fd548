"""The server's TLS context, and how a new certificate takes the place of the old one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import structlog
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway import files
from gateway.config import Settings

_SERVERS: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}

_log = structlog.get_logger()


class TLSError(Exception):
    """The certificate or its key can't be used. The text names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Material:
    """A certificate and its key as `read` found them.

    Attributes:
        digest: of both files' contents.
        context: TLS 1.2 and 1.3 with them.
        begins, ends: when the certificate itself is valid, without the others of its chain.
        remarks: what else is wrong with it, or with how the files are kept: a sentence each.
    """

    certificate: Path
    digest: bytes
    context: ssl.SSLContext
    begins: datetime
    ends: datetime
    chain: tuple[x509.Certificate, ...]
    remarks: tuple[str, ...]

    def out_of_date(self, now: datetime) -> str | None:
        """Why no client accepts the certificate at `now`, or None."""
        if self.begins <= now < self.ends:
            return None
        return _not_now(str(self.certificate), self.begins, self.ends)

    def problems(self, now: datetime) -> list[str]:
        """All that is wrong at `now`, which does not keep it from being used."""
        problems = [] if (over := self.out_of_date(now)) is None else [over]
        for number, issuer in enumerate(self.chain[1:], 2):
            begins, ends = issuer.not_valid_before_utc, issuer.not_valid_after_utc
            if not begins <= now < ends:
                problems.append(
                    _not_now(f"certificate {number} of {self.certificate}", begins, ends)
                )
        return [*problems, *self.remarks]


def read(certificate: Path, key: Path) -> Material:
    """Read `certificate` (PEM, the chain in order) and its `key` (PEM, without a password).

    Session tickets are on, so that a reconnect storm costs a fraction of as many full handshakes
    (RFC 8446 section 2.2).

    Raises:
        TLSError: a file is missing, unreadable, or they do not belong together.
    """
    shown, secret = _contents(certificate), _contents(key)
    digest = hashlib.sha256(b"%d %b%b" % (len(shown.data), shown.data, secret.data)).digest()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = (
        1  # a client takes up its session once: a second ticket is 25 us for nothing
    )
    try:
        # What was read, and not the files once more: they may be others by now.
        with _in_memory(shown.data) as public, _in_memory(secret.data) as private:
            context.load_cert_chain(public, private, _no_password)
        chain = tuple(x509.load_pem_x509_certificates(shown.data))
    except _Encrypted:
        raise TLSError(
            f"{key} is encrypted, and a gateway can't ask for its password: give the key without "
            f"one (openssl pkey -in {key} -out NEW), mode 0600"
        ) from None
    except (ssl.SSLError, OSError, ValueError) as error:
        raise TLSError(
            f"{certificate} and {key} can't be used together ({error}): "
            "give a PEM certificate chain and the unencrypted key that belongs to it"
        ) from error
    remarks = _remarks(certificate, chain)
    kept = files.exposed(key, secret.status, "the certificate's key", roots=True)
    if kept is not None:
        remarks.append(kept)
    begins, ends = chain[0].not_valid_before_utc, chain[0].not_valid_after_utc
    return Material(certificate, digest, context, begins, ends, chain, tuple(remarks))


class Certificate:
    """The files of a running gateway's certificate, the `context` made of them, and when it `ends`.

    `adopt` is given each new context. A new one, and not the old one loaded anew: OpenSSL keeps a
    certificate for each kind of key, so an RSA one would be shown on beside its ECDSA successor.
    With the old context go its session tickets: a client that comes back with one shakes hands in
    full, and sees the new certificate (RFC 8446 section 4.2.11).
    """

    def __init__(self, certificate: Path, key: Path, now: datetime) -> None:
        """Read the files, and log what is wrong with the certificate at `now`.

        One that is out of date is used all the same: there is none instead, and the wrong one may
        be this machine's clock. Raises `TLSError`, as `read`.
        """
        self._material = read(certificate, key)
        self.adopt: Callable[[ssl.SSLContext], None] = _nobody
        _say(self._material, now)

    @classmethod
    def of(cls, settings: Settings, now: datetime) -> Certificate | None:
        """What the WSS listener shows; None where there is none. Raises `TLSError`."""
        if settings.wss_listen is None or not settings.tls_cert or not settings.tls_key:
            return None
        return cls(settings.tls_cert, settings.tls_key, now)

    @property
    def context(self) -> ssl.SSLContext:
        """What listeners are to use."""
        return self._material.context

    @property
    def ends(self) -> datetime:
        """When the certificate expires."""
        return self._material.ends

    def prepare(self, certificate: Path, key: Path, now: datetime) -> Callable[[], None] | None:
        """Read the files; returns what takes them up, or None where nothing changed in them.

        Changes nothing, and may be called in another thread.

        Raises:
            TLSError: they can't be used; or the certificate is not valid at `now`, where the one
                that it would replace is.
        """
        material = read(certificate, key)
        if material.digest == self._material.digest:
            return None
        over = material.out_of_date(now)
        if over is not None and self._material.out_of_date(now) is None:
            raise TLSError(over)
        return partial(self._take_up, material, now)

    def _take_up(self, material: Material, now: datetime) -> None:
        self._material = material
        self.adopt(material.context)
        _log.info("certificate_read", expires=f"{material.ends:%Y-%m-%dT%H:%M:%SZ}")
        _say(material, now)


def _say(material: Material, now: datetime) -> None:
    for problem in material.problems(now):
        _log.error("certificate_problem", problem=problem)


def _not_now(what: str, begins: datetime, ends: datetime) -> str:
    return (
        f"{what} is good from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC, "
        "and not now: renew it, and look at this machine's clock"
    )


def _remarks(certificate: Path, chain: tuple[x509.Certificate, ...]) -> list[str]:
    """Why clients will refuse the certificate, whatever the time is."""
    remarks = []
    leaf = chain[0]
    try:
        names = _extension(leaf, x509.SubjectAlternativeName)
        usage = _extension(leaf, x509.ExtendedKeyUsage)
    except ValueError:
        return [f"{certificate} has extensions that can't be read: get it issued again"]
    if not names:
        remarks.append(
            f"{certificate} has no subjectAltName, so clients accept it for no name (RFC 9525 "
            "section 6.3): have it issued with the names that clients connect to"
        )
    if usage is not None and not _SERVERS & set(usage):
        remarks.append(
            f"{certificate} is not for servers, says its extended key usage: "
            "have it issued with serverAuth"
        )
    for number, (issued, issuer) in enumerate(pairwise(chain), 1):
        if issued.issuer != issuer.subject:
            remarks.append(
                f"certificate {number} of {certificate} was not issued by the one that follows it: "
                "put the server's first, then its issuer's, and so on"
            )
    return remarks


def _extension(
    certificate: x509.Certificate, kind: type[x509.SubjectAlternativeName | x509.ExtendedKeyUsage]
) -> list[object] | None:
    try:
        return list(certificate.extensions.get_extension_for_class(kind).value)
    except x509.ExtensionNotFound:
        return None


def _contents(path: Path) -> files.Contents:
    try:
        return files.read(path)
    except FileNotFoundError:
        raise TLSError(f"{path} is not there: set tls_cert and tls_key to PEM files") from None
    except OSError as error:
        raise TLSError(
            f"{path} can't be read ({error.strerror}): set tls_cert and tls_key to PEM files"
        ) from error


class _Encrypted(Exception):
    """OpenSSL wants a password."""


def _no_password() -> str:
    """Without this OpenSSL asks the terminal, and the event loop waits for what is typed there."""
    raise _Encrypted


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """A path under which `data` can be opened: `ssl` loads a key from a file only."""
    descriptor = os.memfd_create("homeport-tls")
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.write(data)
        yield f"/proc/self/fd/{descriptor}"


def _nobody(context: ssl.SSLContext) -> None:
    """Nothing listens with TLS yet."""
