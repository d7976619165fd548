"""An app: what a gateway must know to let its users in and to seal what they write.

Its errors are in `gateway.apps.errors`, and what can be set of it in `gateway.apps.settings`.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from gateway.apps import api_keys
from gateway.apps.api_keys import ApiKey
from gateway.apps.errors import (
    InvalidApp,
    MainlandOnly,
    TooManyApiKeys,
    UnknownAccount,
    UnknownApiKey,
    UnknownKey,
    UnknownRegion,
)
from gateway.apps.public_keys import PublicKey, check_keys
from gateway.apps.regions import REGIONS, region_of
from gateway.apps.settings import SETTINGS, AppSettings, Value, setting
from gateway.apps.webhooks import MAX_WEBHOOKS, Webhook, is_webhook

ACCOUNTS: Final = ("mainland", "global")

_CERTIFICATE: Final = re.compile(r"[0-9a-f]{64}")
_SALT_BYTES: Final = 32
_SECRETS: Final = ("salt", "certificates", "webhooks", "api_keys")


class App(AppSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One app, as it is stored: the settings, and what nobody can set. Its region is in its id.

    Attributes:
        account: "mainland" or "global", the kind of account it belongs to.
        salt: 32 random bytes; without them nothing its users wrote can be opened again.
        certificates: primary first, at most two. Each is 64 hex digits, and their ASCII bytes are
            the HMAC key of tokens by HS256.
        keys: public keys, the oldest first, at most two; they verify tokens by ES256 and EdDSA.
        created_ms: milliseconds since 1970.
        revoked_before_ms: tokens of all users that were issued before this are void; milliseconds
            since 1970, 0: none are.
        webhooks: where its servers are told what happens, at most `MAX_WEBHOOKS`.
        api_keys: what is kept of the keys for the REST API, the oldest first; at most two.

    Raises:
        UnknownRegion: `region` does not exist.
        UnknownAccount: `account` is neither "mainland" nor "global".
        MainlandOnly: `account` is "mainland", and the region is not "cn".
        InvalidApp, InvalidKey, InvalidSetting: another field, a key, or a setting has a wrong form.
    """

    id: str
    region: str
    account: str
    salt: bytes
    certificates: tuple[str, ...]
    created_ms: int
    revoked_before_ms: int = 0
    keys: tuple[PublicKey, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()

    def __post_init__(self) -> None:
        if self.region not in REGIONS:
            raise UnknownRegion(self.region, tuple(REGIONS))
        if region_of(self.id) is not REGIONS[self.region]:
            raise InvalidApp("id", f"32 hex digits that begin with the number of {self.region}")
        if self.account not in ACCOUNTS:
            raise UnknownAccount(self.account, ACCOUNTS)
        if self.account == "mainland" and self.region != "cn":
            raise MainlandOnly(self.region)
        if len(self.salt) != _SALT_BYTES:
            raise InvalidApp("salt", f"{_SALT_BYTES} bytes")
        if not 1 <= len(self.certificates) <= 2 or not all(
            _CERTIFICATE.fullmatch(certificate) for certificate in self.certificates
        ):
            raise InvalidApp("certificates", "one or two, each of 64 hex digits")
        check_keys(self.keys)
        if len(self.webhooks) > MAX_WEBHOOKS or not all(map(is_webhook, self.webhooks)):
            raise InvalidApp("webhooks", f"up to {MAX_WEBHOOKS}, each with an id and secrets")
        api_keys.check(self.api_keys)
        # Not against the tier: if a release gives a tier less, its apps must still be readable.
        for each in SETTINGS.values():
            each.check(self)

    def tells(self, event: str) -> bool:
        """Whether some endpoint wants to be told of events of this type."""
        return any(webhook.wants(event) for webhook in self.webhooks)

    def bodies_to(self, webhook: Webhook) -> bool:
        """Whether an endpoint is told what users wrote: it asked, and is on the app's list."""
        return webhook.bodies and webhook.host in self.webhook_body_hosts.split()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Without its secrets: a log or a traceback may show an app by accident."""
        return [
            (name, getattr(self, name)) for name in self.__struct_fields__ if name not in _SECRETS
        ]

    def __repr__(self) -> str:
        return f"App({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


def create_app(name: str, region: str, tier: str, account: str, now_ms: int) -> App:
    """A new app, with a fresh id, salt and certificate, and all other settings at their defaults.

    Args:
        region: a key of `REGIONS`.
        tier: a key of `TIERS`.
        account: "mainland" or "global".
        now_ms: the time, in milliseconds since 1970.

    Raises:
        UnknownRegion, UnknownAccount: `region` or `account` does not exist.
        MainlandOnly: `account` is "mainland", and the region is not "cn".
        InvalidSetting: `name` or `tier` has a wrong form.
    """
    if region not in REGIONS:
        raise UnknownRegion(region, tuple(REGIONS))
    return App(
        id=f"{REGIONS[region].number:02x}{secrets.token_hex(15)}",
        name=name,
        region=region,
        tier_name=tier,
        account=account,
        salt=secrets.token_bytes(_SALT_BYTES),
        certificates=(_new_certificate(),),
        created_ms=now_ms,
    )


def change(app: App, name: str, value: Value) -> App:
    """`app` with the setting `name` at `value`.

    Raises:
        UnknownSetting, FixedField: it has no such setting.
        InvalidSetting: `value` is not what the setting's rule says.
        TierTooLow: the tier allows less; with a new tier, less than another setting has.
    """
    found = setting(name)
    changed = replace(app, **{found.field: value})
    for each in SETTINGS.values() if name == "tier" else (found,):
        each.check_tier(changed)
    return changed


def settings_of(app: App) -> dict[str, Value]:
    """Every setting of `app` by its name, in the order of the table."""
    return {each.name: getattr(app, each.field) for each in SETTINGS.values()}


def with_revoked(app: App, before_ms: int) -> App:
    """`app` with all tokens void that were issued before `before_ms`. Never takes back a later
    time."""
    return replace(app, revoked_before_ms=max(app.revoked_before_ms, before_ms))


def with_api_key(app: App, key: ApiKey) -> App:
    """`app` with one more API key.

    Raises:
        TooManyApiKeys.
    """
    if len(app.api_keys) >= api_keys.MAX_KEYS:
        raise TooManyApiKeys(api_keys.MAX_KEYS)
    return replace(app, api_keys=(*app.api_keys, key))


def without_api_key(app: App, key_id: str) -> App:
    """`app` without the API key `key_id`, which opens nothing from now on.

    Raises:
        UnknownApiKey.
    """
    rest = tuple(key for key in app.api_keys if key.id != key_id)
    if len(rest) == len(app.api_keys):
        raise UnknownApiKey(key_id)
    return replace(app, api_keys=rest)


def with_new_certificate(app: App) -> App:
    """`app` with a fresh primary certificate; the old primary stays on as the secondary.

    The old secondary is dropped: tokens signed with it are refused from now on.
    """
    return replace(app, certificates=(_new_certificate(), app.certificates[0]))


def with_key(app: App, key: PublicKey) -> App:
    """`app` with a public key more; the very same one again changes nothing.

    Raises:
        InvalidKey: it has two, or one that differs in its `kid` only, or one of this `kid`.
    """
    return app if key in app.keys else replace(app, keys=(*app.keys, key))


def without_key(app: App, name: str) -> App:
    """`app` without the public key whose `kid` or thumbprint is `name`.

    Raises:
        UnknownKey: it has none.
    """
    left = tuple(key for key in app.keys if name not in (key.id, key.kid))
    if len(left) == len(app.keys) or not name:
        raise UnknownKey(app.id, name)
    return replace(app, keys=left)


def _new_certificate() -> str:
    return secrets.token_hex(32)


def to_bytes(app: App) -> bytes:
    """`app` as MessagePack. It holds the certificates and the salt: seal it before it is stored."""
    return msgspec.msgpack.encode(app)


def from_bytes(data: bytes) -> App:
    """The app that `to_bytes` wrote.

    Raises:
        AppError: the bytes are no such record, or a field of it is wrong.
    """
    try:
        return msgspec.msgpack.decode(data, type=App)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidApp("record", "what to_bytes wrote") from None
