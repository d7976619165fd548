"""Tokens that must be refused, as an attacker or a clumsy back end would make them."""

from __future__ import annotations

from typing import Any

import jwt

from gateway.apps.app import App
from tests.harness import RunningWorker


def forge(running: RunningWorker, *, app: App | None = None, **changes: Any) -> str:
    """A good token for mallory but for `changes`: of a claim, of `algorithm` or of the `key`.

    A claim that is None is left out.
    """
    assert running.clock is not None
    app = app or running.app
    algorithm = changes.pop("algorithm", "HS256")
    key = changes.pop("key", app.certificates[0])
    now = int(running.clock.now)
    claims: dict[str, Any] = {
        "iss": app.id,
        "sub": "mallory",
        "aud": f"homeport:{app.region}",
        "iat": now,
        "exp": now + 3600,
    }
    for name, value in changes.items():
        claims[name] = now + value if name in ("iat", "exp") and value is not None else value
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm)
