"""Signatures by Standard Webhooks 1.0.0 (spec/standard-webhooks.md, "Signature scheme").

What is signed is ``{webhook-id}.{webhook-timestamp}.{body}``. A signature is ``v1,`` and the base64
of an HMAC-SHA256, or ``v1a,`` and that of an Ed25519 signature. While a secret is rotated there is
one of each secret, with a space between.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.apps.webhooks import private_key, secret_bytes


def headers(secrets: Sequence[str], id: str, time_s: int, body: bytes) -> dict[str, str]:
    """The three headers of an attempt at `time_s`, in seconds since 1970."""
    text = b"%b.%d.%b" % (id.encode(), time_s, body)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(time_s),
        "webhook-signature": " ".join(_sign(secret, text) for secret in secrets),
    }


def _sign(secret: str, text: bytes) -> str:
    private, shared = _keys(secret)
    if private is not None:
        return f"v1a,{b64encode(private.sign(text)).decode()}"
    return f"v1,{b64encode(hmac.digest(shared, text, 'sha256')).decode()}"


@lru_cache(4096)
def _keys(secret: str) -> tuple[Ed25519PrivateKey | None, bytes]:
    return private_key(secret), secret_bytes(secret)
