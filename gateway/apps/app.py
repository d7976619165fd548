"""An app: what a gateway must know to let its users in and to seal what they write.

Errors::

    AppError
    +-- UnknownRegion     `region` is not in `REGIONS`
    +-- UnknownTier       `tier` is not in `TIERS`
    +-- UnknownAccount    `account` is neither "mainland" nor "global"
    +-- UnknownPolicy     `policy` is neither "replace" nor "refuse"
    +-- MainlandOnly      an account of mainland China asked for a `region` other than cn
    +-- InvalidApp        another `field` has a wrong form
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from gateway.apps.regions import REGIONS, region_of
from gateway.apps.tiers import TIERS, Tier

ACCOUNTS: Final = ("mainland", "global")
DEVICE_POLICIES: Final = ("replace", "refuse")
DAY_S: Final = 24 * 60 * 60
RECALL_S: Final = 120
MAX_RECALL_S: Final = 7 * DAY_S

_CERTIFICATE: Final = re.compile(r"[0-9a-f]{64}")
_SALT_BYTES: Final = 32
_MAX_NAME_CHARS: Final = 64


class AppError(Exception):
    """An app cannot be made, changed or read as asked."""


class UnknownRegion(AppError):
    def __init__(self, region: str) -> None:
        super().__init__(f"no region {region!r}; choose one of {', '.join(REGIONS)}")
        self.region = region


class UnknownTier(AppError):
    def __init__(self, tier: str) -> None:
        super().__init__(f"no tier {tier!r}; choose one of {', '.join(TIERS)}")
        self.tier = tier


class UnknownAccount(AppError):
    def __init__(self, account: str) -> None:
        super().__init__(f"no account kind {account!r}; choose one of {', '.join(ACCOUNTS)}")
        self.account = account


class UnknownPolicy(AppError):
    def __init__(self, policy: str) -> None:
        super().__init__(f"no device policy {policy!r}; choose one of {', '.join(DEVICE_POLICIES)}")
        self.policy = policy


class MainlandOnly(AppError):
    def __init__(self, region: str) -> None:
        super().__init__(
            f"an account of mainland China may only create apps in cn, not in {region}; "
            "create the app in cn, its users may connect from anywhere"
        )
        self.region = region


class InvalidApp(AppError):
    """`field` is the name of the field at fault; the text never shows its value."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"the app's {field} must be {rule}")
        self.field = field


@dataclass(frozen=True, slots=True)
class App:
    """One app. Its region is in its id and can't be changed.

    Attributes:
        account: "mainland" or "global", the kind of account it belongs to.
        salt: 32 random bytes; without them nothing its users wrote can be opened again.
        certificates: primary first, at most two. Each is 64 hex digits, and their ASCII bytes are
            the HMAC key of the app's tokens.
        created_ms: milliseconds since 1970.
        max_token_s: the longest life of a token, in seconds.
        device_policy: what happens when a user has as many devices connected as the tier allows
            and one more comes. "replace": it takes the place of the one of its platform that has
            been connected longest, if there is one. "refuse": it is not let in.
        revoked_before_ms: tokens issued before this are void, whoever they name; milliseconds since
            1970, 0: none are.
        recall_s: how long after it was sent a message may be recalled or edited, in seconds; 0:
            not at all.

    Raises:
        AppError: a field is wrong; see the module's table.
    """

    id: str
    name: str
    region: str
    tier: Tier
    account: str
    salt: bytes = field(repr=False)
    certificates: tuple[str, ...] = field(repr=False)
    created_ms: int
    max_token_s: int = DAY_S
    device_policy: str = "replace"
    recall_s: int = RECALL_S
    revoked_before_ms: int = 0

    def __post_init__(self) -> None:
        if self.region not in REGIONS:
            raise UnknownRegion(self.region)
        if region_of(self.id) is not REGIONS[self.region]:
            raise InvalidApp("id", f"32 hex digits that begin with the number of {self.region}")
        if self.account not in ACCOUNTS:
            raise UnknownAccount(self.account)
        if self.account == "mainland" and self.region != "cn":
            raise MainlandOnly(self.region)
        if not (0 < len(self.name) <= _MAX_NAME_CHARS and self.name.isprintable()):
            raise InvalidApp("name", f"1 to {_MAX_NAME_CHARS} printable characters")
        if len(self.salt) != _SALT_BYTES:
            raise InvalidApp("salt", f"{_SALT_BYTES} bytes")
        if not 1 <= len(self.certificates) <= 2 or not all(
            _CERTIFICATE.fullmatch(certificate) for certificate in self.certificates
        ):
            raise InvalidApp("certificates", "one or two, each of 64 hex digits")
        if self.max_token_s < 1:
            raise InvalidApp("max_token_s", "at least one second")
        if self.device_policy not in DEVICE_POLICIES:
            raise UnknownPolicy(self.device_policy)
        if not 0 <= self.recall_s <= MAX_RECALL_S:
            raise InvalidApp("recall_s", f"0 to {MAX_RECALL_S} seconds")


def create_app(
    name: str,
    region: str,
    tier: str,
    account: str,
    now_ms: int,
    max_token_s: int = DAY_S,
    device_policy: str = "replace",
) -> App:
    """A new app, with a fresh id, salt and certificate.

    Args:
        region: a key of `REGIONS`.
        tier: a key of `TIERS`.
        account: "mainland" or "global".
        now_ms: the time, in milliseconds since 1970.
        max_token_s: the longest life of its tokens, in seconds.
        device_policy: "replace" or "refuse", see `App`.

    Raises:
        UnknownRegion, UnknownTier, UnknownAccount, UnknownPolicy, MainlandOnly, InvalidApp: see the
            module.
    """
    if region not in REGIONS:
        raise UnknownRegion(region)
    return App(
        id=f"{REGIONS[region].number:02x}{secrets.token_hex(15)}",
        name=name,
        region=region,
        tier=_tier(tier),
        account=account,
        salt=secrets.token_bytes(_SALT_BYTES),
        certificates=(_new_certificate(),),
        created_ms=now_ms,
        max_token_s=max_token_s,
        device_policy=device_policy,
    )


def with_tier(app: App, tier_name: str) -> App:
    """`app` in another tier. Raises `UnknownTier`."""
    return replace(app, tier=_tier(tier_name))


def with_device_policy(app: App, policy: str) -> App:
    """`app` with another device policy. Raises `UnknownPolicy`."""
    return replace(app, device_policy=policy)


def with_recall(app: App, recall_s: int) -> App:
    """`app` with another time to recall and edit, in seconds. Raises `InvalidApp`."""
    return replace(app, recall_s=recall_s)


def with_revoked(app: App, before_ms: int) -> App:
    """`app` with all tokens void that were issued before `before_ms`. Never takes back a later
    time."""
    return replace(app, revoked_before_ms=max(app.revoked_before_ms, before_ms))


def with_new_certificate(app: App) -> App:
    """`app` with a fresh primary certificate; the old primary stays on as the secondary.

    The old secondary is dropped: tokens signed with it are refused from now on.
    """
    return replace(app, certificates=(_new_certificate(), app.certificates[0]))


def _tier(name: str) -> Tier:
    if name not in TIERS:
        raise UnknownTier(name)
    return TIERS[name]


def _new_certificate() -> str:
    return secrets.token_hex(32)


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    """An `App` as it is stored: a map, with the tier by its name."""

    id: str
    name: str
    region: str
    tier: str
    account: str
    salt: bytes
    certificates: tuple[str, ...]
    created_ms: int
    max_token_s: int
    device_policy: str = "replace"  # a record from before there was a choice
    recall_s: int = RECALL_S
    revoked_before_ms: int = 0


def to_bytes(app: App) -> bytes:
    """`app` as MessagePack. It holds the certificates and the salt: seal it before it is stored."""
    return msgspec.msgpack.encode(
        _Record(
            app.id,
            app.name,
            app.region,
            app.tier.name,
            app.account,
            app.salt,
            app.certificates,
            app.created_ms,
            app.max_token_s,
            app.device_policy,
            app.recall_s,
            app.revoked_before_ms,
        )
    )


def from_bytes(data: bytes) -> App:
    """The app that `to_bytes` wrote.

    Raises:
        AppError: it is not such a record; see the module's table.
    """
    try:
        record = msgspec.msgpack.decode(data, type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidApp("record", "what to_bytes wrote") from None
    fields = msgspec.structs.asdict(record)
    return App(**(fields | {"tier": _tier(record.tier)}))
