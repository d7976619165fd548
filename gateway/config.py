"""One typed configuration: flags beat HOMEPORT_* variables, which beat the TOML file.

Whatever is wrong is told at once and before anything starts, with what to do about it. A name that
means nothing is refused too: a typo must not fall back to a default in silence.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import structlog
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from gateway import files
from gateway.address import Address, url_check
from gateway.redis.url import RedisUrl

ENV_PREFIX: Final = "HOMEPORT_"

RegionCode = Literal["cn", "sg", "eu", "na"]
"""The codes of `gateway.apps.regions.REGIONS`, which lies above this module."""

# What Kubernetes injects for services named homeport or homeport-…: HOMEPORT_PORT=tcp://…,
# HOMEPORT_SERVICE_HOST, HOMEPORT_API_PORT_443_TCP_ADDR.
_KUBERNETES: Final = re.compile(
    r"HOMEPORT(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)"
)


class ConfigError(Exception):
    """The configuration can't be used. Each of `problems` is one sentence that says what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _addresses(value: object) -> object:
    """A list of addresses as one text, with commas between them."""
    if isinstance(value, str) and value.lstrip().startswith('["'):
        value = _json(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    return value


def _listen(text: str) -> str:
    Address.parse_all(text)
    return text


Listen = Annotated[str, BeforeValidator(_addresses), AfterValidator(_listen)]
"""One address to listen on, or several: a list in the file, commas in a variable."""


def _redis_url(text: str) -> str:
    RedisUrl.parse(text)
    return text


_PORTS: Final = {"http": 80, "https": 443}


def _origin(text: str) -> str:
    match = re.fullmatch(
        r"(https?)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?", text
    )
    port = int(match[2] or 0) if match is not None else 0
    if match is None or port > 65535 or port == _PORTS[match[1]]:
        raise ValueError(
            "must be what a browser sends as Origin, like https://chat.example.com: "
            "lower case, other scripts as xn--…, no path, no slash at the end, no *, "
            "and a port only where it is not the scheme's own"
        )
    return text


def _region(text: str) -> str:
    if text not in get_args(RegionCode):
        raise ValueError(
            f"has a key that is no region; regions are {', '.join(get_args(RegionCode))}"
        )
    return text


def _json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("must be JSON where it is given as text") from None


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(
            "has an entry that is no network: write it like 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"
        ) from None
    return text


_wss_url: Final = url_check("wss", "wss://eu.chat.example/v1")
_https_url: Final = url_check("https", "https://api.eu.chat.example")


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0))


class Settings(BaseModel):
    """All there is to configure of a gateway. `load_settings` reads it.

    `gateway.runtime.reload` says which of them a running gateway takes up.

    Attributes:
        region: the region this gateway serves.
        redis_url: the region's own Redis (`gateway.redis.url` says how it is spelled); it may hold
            a password, so it is not shown.
        durability: when a message counts as kept (G1): Redis replied, on disk, or on `replicas`.
        allow_eviction: use a Redis that throws keys away when its memory ends; what was accepted
            may then be lost.
        key_file: the region's keyring.
        wss_listen: ``host:port`` of the TLS listener, which needs `tls_cert` and `tls_key` (PEM).
            Several are a list, as for the other two. ``[::]`` takes IPv4 and IPv6.
        plain_listen: ``host:port`` of a listener without TLS: loopback only, unless
            `tls_terminated_upstream` says that a proxy in front of it speaks TLS.
        origins: the browser origins let in, exactly as sent.
        allow_missing_origin: let clients in that send no Origin, which native ones don't.
        heartbeat_s: seconds of silence after which the gateway pings.
        directory: region code to ``wss://`` URL, told to clients that came to the wrong region.
        max_connections_per_ip: most open connections from one IPv4 address, or one /64 of IPv6;
            0 for any number. Each worker process counts by itself, as for the next two.
        ip_connect_rate: new connections a second from one such source, in the long run; ten times
            as many at once. 0 for any number.
        connect_rate: new connections a second that a worker takes from the kernel's queue, where
            more wait meanwhile; 0 for as many as it can.
        max_outbox_bytes: most bytes that a worker holds for clients that do not keep up, all
            together; past it, those with the most are closed.
        trusted_proxies: networks of balancers (CIDR). Their own connections count for no address,
            and only they may tell a client's, in the two ways that follow.
        client_address_header: the header in which such a proxy tells it. Name only the one that
            the proxy sets or appends to itself: whatever else a client sends is passed on.
        wss_proxy_protocol: connections of `wss_listen` begin with a header of PROXY protocol v2.
        plain_proxy_protocol: those of `plain_listen` do.
        workers: how many processes serve; as many as there are usable cores. A container's share
            of CPU time is not seen: set it there.
        ops_listen: ``host:port`` for health, metrics and how far a drain is: an internal port,
            without TLS.
        compatible: a setting of the file that this version does not know is left out with a warning
            and not refused: for a file that newer gateways read, too.
        webhook_networks: networks (CIDR) that webhooks may be sent to although they are not public,
            as 127.0.0.0/8 for a receiver on this machine. Whoever owns an app can then have this
            gateway ask what is there.
        api_listen: ``host:port`` of the REST API, for apps' back ends; no API without it. It speaks
            TLS with `tls_cert` and `tls_key`, but not on loopback, nor where
            `tls_terminated_upstream` says that a proxy in front of it does.
        api_workers: how many processes serve the API.
        api_directory: region code to ``https://`` URL of its API: this region's own, which back
            ends are told, and those of the regions to which apps that came here are sent.
        drain_s: seconds from the signal to leave until everything has ended. Whoever starts the
            gateway must wait longer than this before it kills.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # redis_url may hold a password
    )

    region: RegionCode
    redis_url: Annotated[str, AfterValidator(_redis_url)] = Field(repr=False)
    durability: Literal["memory", "fsync", "replica"]
    replicas: int = Field(default=1, ge=1)
    allow_eviction: bool = False
    key_file: Path
    wss_listen: Listen | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    plain_listen: Listen | None = None
    tls_terminated_upstream: bool = False
    origins: Annotated[list[Annotated[str, AfterValidator(_origin)]], BeforeValidator(_json)] = []
    allow_missing_origin: bool = True
    heartbeat_s: float = Field(default=25, gt=0, le=600, allow_inf_nan=False)
    directory: Annotated[
        dict[Annotated[str, AfterValidator(_region)], Annotated[str, AfterValidator(_wss_url)]],
        BeforeValidator(_json),
    ] = {}
    max_connections_per_ip: int = Field(default=2000, ge=0)
    ip_connect_rate: int = Field(default=100, ge=0)
    connect_rate: int = Field(default=0, ge=0)
    max_outbox_bytes: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024)
    trusted_proxies: Annotated[
        list[Annotated[str, AfterValidator(_network)]], BeforeValidator(_json)
    ] = ["127.0.0.0/8", "::1/128"]
    client_address_header: Literal["forwarded", "x-forwarded-for"] | None = None
    wss_proxy_protocol: bool = False
    plain_proxy_protocol: bool = False
    workers: int = Field(default_factory=_usable_cores, ge=1, le=1024)
    ops_listen: Listen | None = None
    webhook_networks: Annotated[
        list[Annotated[str, AfterValidator(_network)]], BeforeValidator(_json)
    ] = []
    api_listen: Listen | None = None
    api_workers: int = Field(default=1, ge=1, le=256)
    api_directory: Annotated[
        dict[Annotated[str, AfterValidator(_region)], Annotated[str, AfterValidator(_https_url)]],
        BeforeValidator(_json),
    ] = {}
    drain_s: float = Field(default=30, ge=1, le=3600, allow_inf_nan=False)
    compatible: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @model_validator(mode="after")
    def _check_listeners(self) -> Settings:
        problems = []
        if self.wss_listen is None and self.plain_listen is None:
            problems.append("nothing to listen on: set wss_listen, like [::]:8443")
        listening = filter(
            None, (self.wss_listen, self.plain_listen, self.ops_listen, self.api_listen)
        )
        try:
            Address.parse_all(",".join(listening) or None)
        except ValueError:  # each by itself is well
            problems.append(
                "wss_listen, plain_listen, ops_listen and api_listen can't share an address: "
                "give each a port of its own"
            )
        if self.wss_listen is not None and (self.tls_cert is None or self.tls_key is None):
            problems.append("wss_listen needs tls_cert and tls_key: set both to PEM files")
        if self.api_tls and (self.tls_cert is None or self.tls_key is None):
            problems.append(
                "api_listen needs tls_cert and tls_key: set both to PEM files, listen on "
                "127.0.0.1, or, when a proxy in front speaks TLS, set tls_terminated_upstream"
            )
        if (
            self.plain_listen is not None
            and not self.tls_terminated_upstream
            and not all(each.is_loopback for each in Address.parse_all(self.plain_listen))
        ):
            problems.append(
                "plain_listen would send tokens and messages unencrypted: use wss_listen, "
                "listen on 127.0.0.1, or, when a proxy in front speaks TLS, "
                "set tls_terminated_upstream"
            )
        for listener in ("wss", "plain"):
            if not getattr(self, f"{listener}_proxy_protocol"):
                continue
            if getattr(self, f"{listener}_listen") is None:
                problems.append(f"{listener}_proxy_protocol needs {listener}_listen: set both")
            if not self.trusted_proxies:
                problems.append(
                    f"{listener}_proxy_protocol needs trusted_proxies: "
                    "name the networks of the balancers that send the header"
                )
        if self.client_address_header is not None and not self.trusted_proxies:
            problems.append(
                "client_address_header needs trusted_proxies: "
                "name the networks of the proxies that set it"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def api_tls(self) -> bool:
        """Whether the API itself speaks TLS."""
        return not self.tls_terminated_upstream and not all(
            each.is_loopback for each in Address.parse_all(self.api_listen)
        )


_log = structlog.get_logger()

_FIELDS: Final = tuple(Settings.model_fields)


class Source:
    """Where settings come from, so that they can be read again: see `load_settings`.

    `first` is what they were as the gateway started. Raises `ConfigError` as it is made, too.
    """

    def __init__(self, file: Path | None, flags: dict[str, Any]) -> None:
        self.file = file
        self._flags = flags
        self.first = self.read()

    def read(self) -> Settings:
        """The settings as they are now. Raises `ConfigError`."""
        return load_settings(self.file, self._flags)


def load_settings(file: Path | None, flags: dict[str, Any]) -> Settings:
    """Merge flags, HOMEPORT_* variables and the TOML file, in this order of rank.

    A flag that is None was not given. In a variable, lists and tables are JSON.

    Raises:
        ConfigError: with everything that is wrong.
    """
    in_file = {} if file is None else _read_toml(file)
    variables = _variables()
    in_env = {key: value for key, value in variables.items() if value}
    given = {key: value for key, value in flags.items() if value is not None}
    values = {k: v for k, v in (in_file | in_env | given).items() if k in _FIELDS}
    problems = _unknown(in_file, lambda key: f"{key} in {file}")
    if in_file.get("compatible") is True:
        for problem in problems:
            _log.warning("setting_unknown", problem=problem, note="compatible: it is left out")
        problems = []
    problems += _unknown(variables, _variable)
    problems += _unknown(given, _flag)

    def source(key: str) -> str:
        if key in given:
            return _flag(key)
        return _variable(key) if key in in_env else f"{key} in {file}"

    try:
        settings = Settings(**values)
    except ValidationError as error:
        for item in error.errors(include_url=False):
            problems += _explain(item, source)
    if problems:
        raise ConfigError(problems)
    return settings


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(files.read(file).data.decode("utf-8"))
    except OSError as error:
        raise ConfigError([f"{file} can't be read ({error.strerror}): check the path"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{file} is not UTF-8: save it as UTF-8"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{file} is not TOML: {error}"]) from None


def _variables() -> dict[str, str]:
    """By setting: the HOMEPORT_* variables, in any case, whether or not there is such a setting."""
    named = ((name.upper(), value) for name, value in sorted(os.environ.items()))
    return {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in named
        if name.startswith(ENV_PREFIX) and not _KUBERNETES.fullmatch(name)
    }


def _unknown(keys: Iterable[str], show: Callable[[str], str]) -> list[str]:
    problems = []
    for key in keys:
        if key not in _FIELDS:
            nearest = difflib.get_close_matches(key, _FIELDS, n=1)
            hint = f"did you mean {show(nearest[0])}?" if nearest else f"use {', '.join(_FIELDS)}"
            problems.append(f"{show(key)} is not a setting: {hint}")
    return problems


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _variable(key: str) -> str:
    return ENV_PREFIX + key.upper()


def _explain(item: ErrorDetails, source: Callable[[str], str]) -> list[str]:
    """Where a wrong value came from and what it must be; never the value, it may be a secret."""
    rule = str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"]
    if not item["loc"]:  # several settings together
        return rule.splitlines()
    key = str(item["loc"][0])
    if item["type"] == "missing":
        return [f"{key} is missing: set {_flag(key)}, {_variable(key)} or {key} in the file"]
    return [f"{source(key)} {rule.removeprefix('Input ')}"]
