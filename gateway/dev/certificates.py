"""The certificates of `homeport dev`: a CA that is good for this machine only, and a server's.

The CA's private key is never written: it signs the one server certificate and is forgotten, so a
person who trusts ``ca.pem`` trusts nothing else with it. Its name constraints (RFC 5280 section
4.2.1.10) say the same once more.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.files import write_private

LIFETIME: Final = timedelta(days=397)
"""Browsers refuse server certificates that live longer than 398 days."""

RENEW_BEFORE: Final = timedelta(days=14)
_BACKDATED: Final = timedelta(hours=1)  # for a browser whose clock is a little behind

_LOCAL_NAMES: Final[list[x509.GeneralName]] = [
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
    x509.IPAddress(ipaddress.IPv6Address("::1")),
]
_LOCAL_NETWORKS: Final[list[x509.GeneralName]] = [
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.IPv4Network("127.0.0.1/32")),
    x509.IPAddress(ipaddress.IPv6Network("::1/128")),
]


@dataclass(frozen=True, slots=True)
class DevCerts:
    """PEM files, mode 0600: what clients trust, and what the WSS listener shows."""

    ca: Path
    cert: Path
    key: Path


def ensure(folder: Path, now: datetime) -> DevCerts:
    """The certificates in `folder`, made anew where one is missing, broken or about to expire.

    `now` is an aware datetime. The server's certificate is for ``localhost``, ``127.0.0.1`` and
    ``::1``.

    Raises:
        OSError: the folder can't be written.
    """
    certs = DevCerts(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    if not _usable(certs, now):
        _make(certs, now)
    return certs


def _usable(certs: DevCerts, now: datetime) -> bool:
    """True when the three files belong together and have time left."""
    try:
        ca = x509.load_pem_x509_certificate(certs.ca.read_bytes())
        cert = x509.load_pem_x509_certificate(certs.cert.read_bytes())
        key = load_pem_private_key(certs.key.read_bytes(), None)
        cert.verify_directly_issued_by(ca)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    first_to_end = min(ca.not_valid_after_utc, cert.not_valid_after_utc)
    return cert.public_key() == key.public_key() and now + RENEW_BEFORE < first_to_end


def _make(certs: DevCerts, now: datetime) -> None:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Homeport dev CA")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now - _BACKDATED + LIFETIME)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )

    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.NameConstraints(_LOCAL_NETWORKS, None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    cert = (
        builder(name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_LOCAL_NAMES), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    write_private(certs.ca, ca.public_bytes(Encoding.PEM))
    write_private(certs.cert, cert.public_bytes(Encoding.PEM))
    write_private(certs.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _usage(*, key_cert_sign: bool = False, digital_signature: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
