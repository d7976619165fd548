"""Whose a client is: what it keeps over its connections belongs to one app and one user."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import msgspec

from homeport import token007


@dataclass(frozen=True, slots=True)
class Owner:
    """An app id and a user id; an app of "" is not known."""

    app: str
    user: str

    def differs(self, other: Owner) -> str | None:
        """``app`` or ``user``, where that is another one; None for the same owner."""
        if self.app and other.app and self.app != other.app:
            return "app"
        return "user" if self.user != other.user else None

    def __repr__(self) -> str:
        return "<Owner>"  # user ids must not get into logs


class _Claims(msgspec.Struct):
    iss: str
    sub: str


def owner_of(token: str) -> Owner | None:
    """Whom `token` is for (SPEC.md section 6); None where it can't be read.

    Its signature is the gateway's to check. A gateway refuses what can't be read here.
    """
    if token.startswith(token007.PREFIX):
        try:
            found = token007.parse(token)
        except ValueError:
            return None
        return Owner(found.app, found.user) if found.user else None
    parts = token.split(".")
    if len(parts) != 3:
        return None
    payload = parts[1]
    try:
        claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        read = msgspec.json.decode(claims, type=_Claims)
    except (ValueError, RecursionError):  # errors of base64, UTF-8 and msgspec are ValueErrors
        return None
    return Owner(read.iss, read.sub)
