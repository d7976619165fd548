"""What can be set of an app, as one table: the fields of `AppSettings`.

A field of `AppSettings` is a setting: its name, its kind, what it means, its default. Storing it,
`change`, `homeport app set`, `homeport app show` and the audit go by this table and know no setting
by name. So a new setting is one new field (and its row in deploy/RUNBOOK.md, which a test holds
equal to the table), and a new type of value is one new kind beside `Whole`, `Choice` and `Text`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Annotated, Any, Final, Protocol, TypeAlias

import msgspec

from gateway.apps.errors import FixedField, InvalidSetting, NoDefault, TierTooLow, UnknownSetting
from gateway.apps.tiers import TIERS, Tier
from gateway.apps.webhooks import is_host

DEVICE_POLICIES: Final = ("replace", "refuse")
GROUP_ADDING: Final = ("direct", "invitation")
DAY_S: Final = 24 * 60 * 60
MAX_RECALL_S: Final = 7 * DAY_S
MAX_TOKEN_S: Final = 30 * DAY_S
"""The longest life of a token that an app can allow. A revocation is remembered for as long."""
MAX_NAME_CHARS: Final = 64
MAX_BODY_HOSTS: Final = 10

_MAX_DIGITS: Final = 18
"""More of them are in no setting's bounds, and Python refuses to read 4,300 (`int`)."""

Value: TypeAlias = str | int
"""A setting's value, as it is stored and as JSON shows it."""


@dataclass(frozen=True, slots=True)
class TierLimit:
    """The highest value that a tier allows. `why` ends a sentence that begins with the tier."""

    of: Callable[[Tier], int]
    why: str


RETENTION_S: Final = TierLimit(
    lambda tier: tier.retention_ms // 1000, "keeps messages for no longer than that"
)


class ValueKind(Protocol):
    """A type of value.

    `rule` says what a value must be, so that it can follow "must be". `limit` is what an app's tier
    allows of it, where that is less.
    """

    @property
    def rule(self) -> str: ...

    @property
    def limit(self) -> TierLimit | None: ...

    def parse(self, text: str) -> Any:
        """The value that a person typed. Raises `ValueError` where it can't be read as one."""

    def accepts(self, value: Any) -> bool:
        """Whether `value` has the type, and is in the bounds."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number of `unit`, from `low` (not negative) to `high`; both are allowed."""

    low: int
    high: int
    unit: str
    limit: TierLimit | None = None

    @property
    def rule(self) -> str:
        return f"a whole number of {self.unit} from {self.low} to {self.high}"

    def parse(self, text: str) -> int:
        """Digits, and nothing else: no sign, no unit, no separator."""
        if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
            raise ValueError
        return int(text)

    def accepts(self, value: Any) -> bool:
        return type(value) is int and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `values`."""

    values: tuple[str, ...]
    limit: TierLimit | None = None

    @property
    def rule(self) -> str:
        return f"one of {', '.join(self.values)}"

    def parse(self, text: str) -> str:
        return text

    def accepts(self, value: Any) -> bool:
        return value in self.values


@dataclass(frozen=True, slots=True)
class Text:
    """A text that `valid` accepts, as a pattern's `fullmatch` does; `rule` says which those are."""

    rule: str
    valid: Callable[[str], object]
    limit: TierLimit | None = None

    def parse(self, text: str) -> str:
        return text

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and bool(self.valid(value))


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME_CHARS and text.isprintable()


def _are_hosts(text: str) -> bool:
    hosts = text.split()
    return len(hosts) <= MAX_BODY_HOSTS and text == " ".join(hosts) and all(map(is_host, hosts))


class AppSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table. Each field is ``Annotated[type, kind, meaning]``, and its default if it has one.

    What an operator types, JSON shows and Redis stores is the field's name, or ``name=`` where the
    code calls it something else. A unit is part of the name.

    `App` does not store a default: so a gateway of the version before, which refuses
    fields that it does not know, reads apps for which a new setting was not used. And so the
    default of a setting never changes: who chose it is not told from who said nothing.
    """

    name: Annotated[
        str,
        Text(f"1 to {MAX_NAME_CHARS} printable characters", _is_name),
        "A name for people.",
    ]
    tier_name: Annotated[
        str,
        Choice(tuple(TIERS)),
        "What the app has paid for: how long and how much is kept, how many devices and "
        "connections there may be, how fast they may send. A change applies at once, for limits "
        "of devices from the next connect on.",
    ] = msgspec.field(name="tier")
    max_token_s: Annotated[
        int,
        Whole(60, MAX_TOKEN_S, "seconds"),
        "The longest life of a token. Applies from the next connect or renewal on.",
    ] = DAY_S
    device_policy: Annotated[
        str,
        Choice(DEVICE_POLICIES),
        "What happens when a user connects one device more than the tier allows. replace: it "
        "replaces the oldest connected device of its platform, and is refused if there is none. "
        "refuse: it is always refused. Applies from the next connect on.",
    ] = "replace"
    recall_s: Annotated[
        int,
        Whole(0, MAX_RECALL_S, "seconds", RETENTION_S),
        "How long after its sending a message may be recalled or edited; 0: never. Applies at "
        "once.",
    ] = 120
    group_adding: Annotated[
        str,
        Choice(GROUP_ADDING),
        "How a group's owner and admins bring users into it. direct: they add them, and invite "
        "only who left the group before. invitation: they invite everybody, and a user is a member "
        "once the user accepts. Either way, a user who blocks them is left alone. Applies at once.",
    ] = "direct"

    webhook_body_hosts: Annotated[
        str,
        Text(f"up to {MAX_BODY_HOSTS} hosts in lower case, a space between each", _are_hosts),
        "The hosts that webhooks may send what users wrote to, if their endpoint asks for it. They "
        "must stand in the app's region: nobody else can see to that. Others get ids only.",
    ] = ""

    @property
    def tier(self) -> Tier:
        """The tier with its limits."""
        return TIERS[self.tier_name]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table; `name` is what an operator types, `field` that of `AppSettings`."""

    name: str
    field: str
    kind: ValueKind
    means: str
    stored_default: Any

    @property
    def has_default(self) -> bool:
        """Whether an app that says nothing has a value."""
        return self.stored_default is not msgspec.NODEFAULT

    @property
    def default(self) -> Value:
        """The value of an app that did not choose one.

        Raises:
            NoDefault: every app must choose a value.
        """
        if not self.has_default:
            raise NoDefault(self.name, self.kind.rule)
        value: Value = self.stored_default
        return value

    def parse(self, text: str) -> Value:
        """The value that an operator typed.

        Raises:
            InvalidSetting: it is not one.
        """
        try:
            value: Value = self.kind.parse(text)
        except ValueError:
            raise InvalidSetting(self.name, self.kind.rule) from None
        if not self.kind.accepts(value):
            raise InvalidSetting(self.name, self.kind.rule)
        return value

    def check(self, settings: AppSettings) -> None:
        """See that the value is in its bounds, whatever the tier.

        Raises:
            InvalidSetting: it is not.
        """
        if not self.kind.accepts(getattr(settings, self.field)):
            raise InvalidSetting(self.name, self.kind.rule)

    def check_tier(self, settings: AppSettings) -> None:
        """See that the value is no more than the tier allows.

        Raises:
            TierTooLow: it is more.
        """
        limit = self.kind.limit
        if limit is not None and getattr(settings, self.field) > limit.of(settings.tier):
            raise TierTooLow(self.name, settings.tier_name, limit.of(settings.tier), limit.why)


def _rows() -> dict[str, Setting]:
    found = {}
    for field in msgspec.structs.fields(AppSettings):
        kind, means = field.type.__metadata__
        row = Setting(field.encode_name, field.name, kind, means, field.default)
        found[row.name] = row
    return found


SETTINGS: Final = _rows()
"""The settings by name, in the order of the table."""

FIXED: Final = {
    "id": "everything stored is sealed under it",
    "region": "it is in the app's id, and everything stored is sealed under the region's keys; "
    "another region is another app",
    "account": "the kind of account decided the app's region; for another kind, create another app",
    "created": "it is when the app was created",
    "certificate": "`homeport app rotate-certificate` gives the app a new one",
    "keys": "`homeport app add-key` and `homeport app remove-key` change them",
}
"""Why other things that `homeport app` shows of an app are no settings, by name."""


def setting(name: str) -> Setting:
    """The setting that an operator calls `name`.

    Raises:
        FixedField: it is something else of an app.
        UnknownSetting: it is nothing.
    """
    if name in FIXED:
        raise FixedField(name, FIXED[name])
    if name not in SETTINGS:
        known = sorted(SETTINGS, key=lambda each: -SequenceMatcher(None, name, each).ratio())
        raise UnknownSetting(name, known)
    return SETTINGS[name]
