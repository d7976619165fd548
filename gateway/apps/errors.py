"""Why an app cannot be made, changed or read as asked.

Errors::

    AppError
    +-- UnknownRegion     `region` is not in `REGIONS`
    +-- UnknownAccount    `account` is neither "mainland" nor "global"
    +-- MainlandOnly      an account of mainland China asked for a `region` other than cn
    +-- InvalidApp        a `field` that no setting is has a wrong form
    +-- InvalidKey        what should be a public key of the app is none, or may not be added
    +-- UnknownKey        the app has no public key that is called `name`
    +-- InvalidWebhook    a `field` of an endpoint has a wrong form
    +-- TooManyWebhooks   the app has `most` endpoints already
    +-- WebhookNotFound   the app has no endpoint with this `id`
    +-- UnknownScope      an API key was asked for with a `scope` that does not exist
    +-- TooManyApiKeys       the app has `most` API keys already
    +-- UnknownApiKey        the app has no API key with this id
    +-- SettingError      carries the setting's `name`
        +-- UnknownSetting    there is no such setting; `known` has those that there are
        +-- FixedField        it is a field of the app, and not one that can be set; `why`
        +-- InvalidSetting    the value breaks the setting's `rule`
        +-- TierTooLow        the value is above `most`, which is what the app's `tier` allows
        +-- NoDefault         the setting has no default to go back to

No text shows a value: a setting may be somebody's secret.
"""

from __future__ import annotations

from collections.abc import Sequence


class AppError(Exception):
    """An app cannot be made, changed or read as asked."""


class UnknownRegion(AppError):
    """`region` is no region's code."""

    def __init__(self, region: str, known: Sequence[str]) -> None:
        super().__init__(f"no region {region!r}; choose one of {', '.join(known)}")
        self.region = region


class UnknownAccount(AppError):
    """`account` is no kind of account."""

    def __init__(self, account: str, known: Sequence[str]) -> None:
        super().__init__(f"no account kind {account!r}; choose one of {', '.join(known)}")
        self.account = account


class MainlandOnly(AppError):
    """An account of mainland China asked for an app in `region`."""

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


class InvalidKey(AppError):
    """`rule` says what the key must do; the text shows nothing of it, as it may be a secret."""

    def __init__(self, rule: str) -> None:
        super().__init__(f"the key must {rule}")
        self.rule = rule


class UnknownKey(AppError):
    """`name` is neither the `kid` nor the thumbprint of a public key of `app_id`."""

    def __init__(self, app_id: str, name: str) -> None:
        super().__init__(f"no such public key; `homeport app keys {app_id}` shows those there are")
        self.app_id = app_id
        self.name = name


class InvalidWebhook(AppError):
    """`field` is that of the endpoint; the text does not show its value, which may be a secret."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"the webhook's {field} must be {rule}")
        self.field = field
        self.rule = rule


class TooManyWebhooks(AppError):
    """The app has `most` endpoints, and can't have more."""

    def __init__(self, most: int) -> None:
        super().__init__(f"an app has at most {most} webhooks; delete one of them first")
        self.most = most


class WebhookNotFound(AppError):
    """The app has no endpoint `id`."""

    def __init__(self, id: str) -> None:
        super().__init__(f"no webhook {id} in this app; `homeport webhook list` shows them")
        self.id = id


class UnknownScope(AppError):
    """`scope` is nothing that an API key can be for; "" where none was named."""

    def __init__(self, scope: str, known: Sequence[str]) -> None:
        said = f"no scope {scope!r}" if scope else "a key is for something"
        super().__init__(f"{said}; choose among {', '.join(known)}")
        self.scope = scope


class TooManyApiKeys(AppError):
    """The app has as many API keys as there may be: `most`."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"the app has {most} API keys, and no more can be valid at once; "
            "delete the one that is no longer used (`homeport key list`)"
        )
        self.most = most


class UnknownApiKey(AppError):
    """The app has no API key `id`."""

    def __init__(self, id: str) -> None:
        super().__init__(f"the app has no API key {id!r}; `homeport key list` shows those it has")
        self.id = id


class SettingError(AppError):
    """`name` is the setting that cannot be changed as asked."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class UnknownSetting(SettingError):
    """There is no setting `name`. `known` are those that there are, the most similar first."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(name, f"no setting {name!r}; there are {', '.join(known)}")
        self.known = tuple(known)


class FixedField(SettingError):
    """`name` is a field of an app that nobody can set, because of `why`."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, f"{name} can't be set: {why}")
        self.why = why


class InvalidSetting(SettingError):
    """The value is not what `rule` says."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(name, f"{name} must be {rule}")
        self.rule = rule


class TierTooLow(SettingError):
    """`tier` is the name of the app's tier, `most` the highest value that it allows."""

    def __init__(self, name: str, tier: str, most: int, why: str) -> None:
        super().__init__(
            name,
            f"{name} may be {most} at most in tier {tier}, which {why}; "
            f"choose a lower {name}, or a higher tier",
        )
        self.tier = tier
        self.most = most


class NoDefault(SettingError):
    """The setting has no default, so it must be given a value."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(name, f"{name} has no default; choose {rule}")
