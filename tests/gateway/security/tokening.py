"""Tokens, good ones and others, for tests."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from homeport import codes

from gateway.apps.app import App, create_app
from gateway.security import tokens
from gateway.security.tokens import TokenRefused, verify

NOW_S = 1_764_000_000
APP = create_app("chat", "eu", "free", "global", NOW_S * 1000)
OTHER = create_app("other", "eu", "free", "global", NOW_S * 1000)
CERTIFICATE = APP.certificates[0]
SIGNED_BY = tokens.fingerprint(CERTIFICATE)
DROP = object()
HEADER = b'{"alg":"HS256"}'


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(header: bytes, payload: bytes, key: str = CERTIFICATE, digest: str = "sha256") -> str:
    text = f"{b64(header)}.{b64(payload)}"
    return f"{text}.{b64(hmac.digest(key.encode(), text.encode(), digest))}"


def token(key: str = CERTIFICATE, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A good token of APP, but for `changes`; a claim set to DROP is left out."""
    claims = {
        "iss": APP.id,
        "sub": "alice",
        "aud": "homeport:eu",
        "iat": NOW_S,
        "exp": NOW_S + 3600,
    } | changes
    kept = {name: value for name, value in claims.items() if value is not DROP}
    return sign(
        json.dumps({"alg": "HS256", "typ": "JWT"} | (header or {})).encode(),
        json.dumps(kept).encode(),
        key,
    )


def refusal(bad: str, app: App = APP, now_s: float = NOW_S) -> codes.ErrorCode:
    with pytest.raises(TokenRefused) as caught:
        verify(bad, app, now_s)
    text = str(caught.value)
    assert text.startswith(caught.value.code.meaning)
    for secret in (app.certificates[0], "alice", APP.id, str(NOW_S), "MARK"):
        assert secret not in text, "a refusal shows something of the token"
    return caught.value.code
