"""Webhooks of an app: where its servers want to be told what happens, and of what.

The secrets are those of Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks,
spec/standard-webhooks.md, "Signature scheme"): ``whsec_`` and ``whsk_`` with base64.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import secrets
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from gateway.apps.errors import InvalidWebhook, TooManyWebhooks, WebhookNotFound

MAX_WEBHOOKS: Final = 5
"""Endpoints of one app."""
MAX_URL_CHARS: Final = 1024

MESSAGE_SENT: Final = "message.sent"
MESSAGE_OFFLINE: Final = "message.offline"
MESSAGE_EDITED: Final = "message.edited"
MESSAGE_RECALLED: Final = "message.recalled"
ROOM_SET: Final = "room.set"
TEST: Final = "webhook.test"

EVENTS: Final[dict[str, str]] = {
    MESSAGE_SENT: "a message was sent: to a user, a group or a room",
    MESSAGE_OFFLINE: "a message was sent while these of its recipients were connected nowhere",
    MESSAGE_EDITED: "a message was given another text",
    MESSAGE_RECALLED: "a message was taken back",
    "group.created": "a group was made",
    "group.renamed": "a group was given another name",
    "group.deleted": "a group was ended",
    "group.added": "users were made members of a group, or invited",
    "group.joined": "a user who was invited came into a group",
    "group.declined": "a user who was invited will not come",
    "group.removed": "members were taken out of a group",
    "group.left": "a member left a group",
    "group.role": "a member was given another role",
    "group.muted": "a member, or all, may write no more in a group, or may again",
    ROOM_SET: "a room was made, or the right to write in it was changed",
}
"""The types of events, and what each says. `TEST` is another, sent when it is asked for."""

Signing = Literal["hmac", "ed25519"]

_PREFIXES: Final[dict[Signing, str]] = {"hmac": "whsec_", "ed25519": "whsk_"}
_SECRET_BYTES: Final = 32
_ID: Final = re.compile(r"wh_[0-9a-f]{16}")
_HOST: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_GROUPS: Final = frozenset(name.partition(".")[0] for name in EVENTS)


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One endpoint: what is sent to `url`, signed with `secrets`, the newest first, at most two.

    `events` are types of `EVENTS`, all of a group, as ``message.*``, or ``*``. With `bodies` it
    asks for what users wrote, too; it gets that where the app allows it (`App.bodies_to`).
    """

    id: str
    url: str
    events: tuple[str, ...]
    secrets: tuple[str, ...]
    created_ms: int
    bodies: bool = False

    def wants(self, event: str) -> bool:
        """Whether it is to be told of events of this type."""
        return (
            event in self.events
            or f"{event.partition('.')[0]}.*" in self.events
            or "*" in self.events
            or event == TEST
        )

    @property
    def host(self) -> str:
        """The name or address in the URL."""
        return urlsplit(self.url).hostname or ""

    def __repr__(self) -> str:
        return f"Webhook({self.id!r})"  # without its secrets, and a URL may hold one


def create_webhook(
    url: str, events: tuple[str, ...], signing: Signing, now_ms: int, *, bodies: bool
) -> Webhook:
    """A new endpoint, with a fresh id and secret.

    Raises:
        InvalidWebhook: `url` or `events` has a wrong form.
    """
    check_url(url)
    for event in events:
        group, dot, rest = event.partition(".")
        if event not in EVENTS and event != "*" and not (group in _GROUPS and dot + rest == ".*"):
            known = ", ".join((*EVENTS, *(f"{each}.*" for each in sorted(_GROUPS)), "*"))
            raise InvalidWebhook("events", f"some of {known}")
    if not events:
        raise InvalidWebhook("events", "at least one type of event")
    return Webhook(
        id=f"wh_{secrets.token_hex(8)}",
        url=url,
        events=tuple(dict.fromkeys(events)),
        secrets=(_new_secret(signing),),
        created_ms=now_ms,
        bodies=bodies,
    )


def check_url(url: str) -> None:
    """See that `url` is one that events may be sent to.

    ``http`` is only for this machine, where a developer tries things.

    Raises:
        InvalidWebhook: it is not.
    """
    rule = "an https URL with a host in lower case, like https://chat.example.com/hook"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidWebhook("url", rule) from None
    host = parts.hostname or ""
    plain = not url.isascii() or not url.isprintable() or " " in url or "\\" in url
    if plain or len(url) > MAX_URL_CHARS or parts.fragment or "@" in parts.netloc or port == 0:
        raise InvalidWebhook("url", f"{rule}, without a user, a fragment or spaces")
    address = address_of(host)
    if address is None and (
        not _HOST.fullmatch(host) or host.rstrip(".").rpartition(".")[2].isdecimal()
    ):
        raise InvalidWebhook("url", rule)
    local = host == "localhost" or (address is not None and address.is_loopback)
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise InvalidWebhook("url", f"{rule}; http is only for this machine")


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a URL's host is; None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def rotate(webhook: Webhook) -> Webhook:
    """`webhook` with a fresh secret; the one before signs beside it until the next rotation."""
    newest = webhook.secrets[0]
    signing = next(each for each, prefix in _PREFIXES.items() if newest.startswith(prefix))
    return replace(webhook, secrets=(_new_secret(signing), newest))


def with_webhook(webhooks: tuple[Webhook, ...], one: Webhook) -> tuple[Webhook, ...]:
    """`webhooks` and one more, or that one as it is now.

    Raises:
        TooManyWebhooks: there are `MAX_WEBHOOKS`.
    """
    if any(each.id == one.id for each in webhooks):
        return tuple(one if each.id == one.id else each for each in webhooks)
    if len(webhooks) >= MAX_WEBHOOKS:
        raise TooManyWebhooks(MAX_WEBHOOKS)
    return (*webhooks, one)


def webhook_of(webhooks: tuple[Webhook, ...], webhook_id: str) -> Webhook:
    """The one with this id.

    Raises:
        WebhookNotFound: there is none.
    """
    for each in webhooks:
        if each.id == webhook_id:
            return each
    raise WebhookNotFound(webhook_id)


def is_webhook(webhook: Webhook) -> bool:
    """Whether what was stored has the form of an endpoint."""
    return (
        _ID.fullmatch(webhook.id) is not None
        and 1 <= len(webhook.secrets) <= 2
        and all(each.startswith(tuple(_PREFIXES.values())) for each in webhook.secrets)
    )


def is_host(text: str) -> bool:
    """Whether `text` is a host that a URL may name: a name in lower case, or an address."""
    return address_of(text) is not None or _HOST.fullmatch(text) is not None


def private_key(secret: str) -> Ed25519PrivateKey | None:
    """What an Ed25519 secret signs with; None where `secret` is an HMAC's."""
    if not secret.startswith(_PREFIXES["ed25519"]):
        return None
    return Ed25519PrivateKey.from_private_bytes(secret_bytes(secret))


def public_key(secret: str) -> str | None:
    """What a receiver checks the signatures of an Ed25519 secret with; None where `secret` is an
    HMAC's, which the receiver must have itself."""
    key = private_key(secret)
    if key is None:
        return None
    return "whpk_" + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def secret_bytes(secret: str) -> bytes:
    """The bytes of a secret, which stand behind its prefix."""
    return base64.b64decode(secret.partition("_")[2])


def _new_secret(signing: Signing) -> str:
    return _PREFIXES[signing] + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
