"""Mirrors gateway/config.py."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from gateway.config import ConfigError, Settings, load_settings
from tests.gateway.configuring import GOOD, problems


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("HOMEPORT_"):
            monkeypatch.delenv(name)


def test_the_least_that_is_needed() -> None:
    """Five settings are enough, and the rest has the documented defaults."""
    settings = load_settings(None, GOOD)
    assert settings.region == "eu"
    assert settings.key_file == Path("/etc/homeport/keyring.json")
    assert (settings.replicas, settings.heartbeat_s) == (1, 25)
    assert (settings.origins, settings.allow_missing_origin) == ([], True)
    assert (settings.directory, settings.tls_terminated_upstream) == ({}, False)
    assert (settings.log_level, settings.log_format) == ("info", "json")
    assert settings.workers == len(os.sched_getaffinity(0))
    assert (settings.ops_listen, settings.drain_s) == (None, 30)


def test_flags_beat_variables_beat_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of rank, with a setting that each of the three decides."""
    file = tmp_path / "homeport.toml"
    file.write_text('log_level = "error"\nreplicas = 2\nheartbeat_s = 30\n')
    monkeypatch.setenv("HOMEPORT_REPLICAS", "3")
    monkeypatch.setenv("HOMEPORT_HEARTBEAT_S", "40")
    settings = load_settings(file, GOOD | {"heartbeat_s": 50, "log_level": None})
    assert (settings.log_level, settings.replicas, settings.heartbeat_s) == ("error", 3, 50)


def test_all_can_come_from_the_file(tmp_path: Path) -> None:
    """A TOML file alone is a whole configuration, tables and lists too."""
    file = tmp_path / "homeport.toml"
    file.write_text(
        'region = "sg"\n'
        'redis_url = "rediss://redis.internal:6380"\n'
        'durability = "replica"\n'
        "replicas = 2\n"
        'key_file = "/run/keys/sg.json"\n'
        'wss_listen = "[::]:8443"\n'
        'tls_cert = "/run/tls/cert.pem"\n'
        'tls_key = "/run/tls/key.pem"\n'
        'origins = ["https://chat.example.com"]\n'
        "allow_missing_origin = false\n"
        "[directory]\n"
        'eu = "wss://eu.example.com/v1"\n'
    )
    settings = load_settings(file, {})
    assert settings.wss_listen == "[::]:8443"
    assert settings.origins == ["https://chat.example.com"]
    assert settings.directory == {"eu": "wss://eu.example.com/v1"}
    assert settings.allow_missing_origin is False


def test_all_can_come_from_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables alone are a configuration; lists and tables are JSON, an empty one is none."""
    for name, value in GOOD.items():
        monkeypatch.setenv(f"HOMEPORT_{name.upper()}", value)
    monkeypatch.setenv("HOMEPORT_ORIGINS", '["http://localhost:3000"]')
    monkeypatch.setenv("HOMEPORT_DIRECTORY", '{"cn": "wss://cn.example.com/v1"}')
    monkeypatch.setenv("HOMEPORT_TLS_TERMINATED_UPSTREAM", "true")
    monkeypatch.setenv("HOMEPORT_WSS_LISTEN", "")
    settings = load_settings(None, {})
    assert settings.origins == ["http://localhost:3000"]
    assert settings.directory == {"cn": "wss://cn.example.com/v1"}
    assert settings.tls_terminated_upstream is True
    assert settings.wss_listen is None


# --- names that mean nothing ---------------------------------------------------------------------


def test_an_unknown_key_in_the_file_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """A typo must not fall back to a default in silence."""
    file = tmp_path / "homeport.toml"
    file.write_text("heartbeats = 5\n")
    assert problems(file) == [
        f"heartbeats in {file} is not a setting: did you mean heartbeat_s in {file}?"
    ]


def test_an_unknown_variable_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a variable, in either case of letters."""
    monkeypatch.setenv("HOMEPORT_ORIGIN", "[]")
    monkeypatch.setenv("homeport_qqqq", "1")
    nearest, nothing_near = problems()
    assert nearest == "HOMEPORT_ORIGIN is not a setting: did you mean HOMEPORT_ORIGINS?"
    assert nothing_near.startswith("HOMEPORT_QQQQ is not a setting: use region, redis_url, ")


def test_an_unknown_flag_is_refused_with_the_nearest() -> None:
    """The same for a flag."""
    assert problems(wss_listn="x:1") == ["--wss-listn is not a setting: did you mean --wss-listen?"]


@pytest.mark.parametrize(
    "name",
    [
        "HOMEPORT_PORT",
        "HOMEPORT_PORT_443_TCP",
        "HOMEPORT_PORT_443_TCP_ADDR",
        "HOMEPORT_PORT_443_TCP_PORT",
        "HOMEPORT_PORT_443_TCP_PROTO",
        "HOMEPORT_SERVICE_HOST",
        "HOMEPORT_SERVICE_PORT",
        "HOMEPORT_SERVICE_PORT_WSS",
        "HOMEPORT_REDIS_SERVICE_HOST",
        "HOMEPORT_REDIS_PORT_6379_TCP",
    ],
)
def test_what_kubernetes_injects_is_ignored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service named homeport, or homeport-redis, must not keep its own pods from starting."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:443")
    assert load_settings(None, GOOD) == Settings(**GOOD)


@pytest.mark.parametrize("name", ["HOMEPORT_PORTS", "HOMEPORT_SERVICES", "HOMEPORT_PORT_443_XYZ"])
def test_what_only_looks_like_kubernetes_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the names that Kubernetes makes are let through."""
    monkeypatch.setenv(name, "1")
    assert f"{name} is not a setting" in problems()[0]


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["region", "redis_url", "durability", "key_file"])
def test_a_missing_setting_is_named_with_all_three_ways_to_set_it(key: str) -> None:
    """Nothing that decides where messages go, or how safe they are, is guessed."""
    flag, variable = "--" + key.replace("_", "-"), "HOMEPORT_" + key.upper()
    assert problems(**{key: None}) == [
        f"{key} is missing: set {flag}, {variable} or {key} in the file"
    ]


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("region", "us", "--region should be 'cn', 'sg', 'eu' or 'na'"),
        ("region", "EU", "--region should be 'cn', 'sg', 'eu' or 'na'"),
        ("durability", "disk", "--durability should be 'memory', 'fsync' or 'replica'"),
        ("log_level", "loud", "--log-level should be 'debug', 'info', 'warning' or 'error'"),
        ("log_format", "xml", "--log-format should be 'json' or 'console'"),
        ("replicas", 0, "--replicas should be greater than or equal to 1"),
        ("heartbeat_s", 0, "--heartbeat-s should be greater than 0"),
        ("heartbeat_s", 601, "--heartbeat-s should be less than or equal to 600"),
        ("heartbeat_s", float("nan"), "--heartbeat-s should be a finite number"),
        ("origins", "chat", "--origins must be JSON where it is given as text"),
        ("directory", {"us": "wss://x"}, "--directory has a key that is no region"),
        ("directory", {"eu": "https://x"}, "--directory must begin with wss://"),
        ("directory", {"eu": "wss://"}, "--directory has an entry that is no address"),
        ("directory", {"eu": "wss://:443/v1"}, "--directory has an entry that is no address"),
        ("directory", {"eu": "wss://x:0/v1"}, "--directory has an entry that is no address"),
        ("directory", {"eu": "wss://x:70000"}, "--directory has an entry that is no address"),
        ("directory", {"eu": "wss://u:p@x/v1"}, "--directory has an entry that is no address"),
        ("directory", {"eu": "wss://x/v1#eu"}, "--directory has an entry that is no address"),
        ("directory", {"eu": "wss://x/v1?a=b"}, "--directory has an entry that is no address"),
        ("directory", {"eu": "wss://x /v1"}, "--directory has an entry that is no address"),
        ("directory", {"eu": "wss://::1/v1"}, "--directory has an entry that is no address"),
        ("tls_terminated_upstream", "perhaps", "--tls-terminated-upstream should be a valid bool"),
    ],
)
def test_a_wrong_value_is_refused(key: str, value: Any, problem: str) -> None:
    """The text names the flag and what it must be."""
    (text,) = problems(**{key: value})
    assert text.startswith(problem)


@pytest.mark.parametrize(
    "url",
    ["http://u:hunter2@redis", "u:hunter2@redis", "redis-cluster://u:hunter2@redis", "hunter2"],
)
def test_a_wrong_redis_url_is_refused_and_not_shown(url: str) -> None:
    """G7, G8: it may hold the password of everything."""
    (text,) = problems(redis_url=url)
    assert text.startswith("--redis-url must begin with redis://, rediss:// (TLS), unix://, ")
    assert "hunter2" not in text


def test_the_redis_password_is_never_shown() -> None:
    """G7, G8: neither by the settings' repr nor by pydantic's own error."""
    secret = {"redis_url": "redis://:hunter2@redis"}
    assert "hunter2" not in repr(load_settings(None, GOOD | secret))
    with pytest.raises(ValidationError) as caught:
        Settings(**(GOOD | {"redis_url": "http://:hunter2@redis"}))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "chat.example.com",
        "https://",
        "https://chat.example.com/",
        "https://chat.example.com/app",
        "https://Chat.example.com",
        "https://*.example.com",
        "https://chat.example.com?x",
        "ftp://chat.example.com",
        "https://user@chat.example.com",
        "https://chat.example.com:443",
        "http://chat.example.com:80",
        "https://chat.example.com:0",
        "https://chat.example.com:99999",
        "https://chat.example.com#x",
        "https://chät.example.com",
        "https://chat example.com",
        "https://:8443",
        "https://[::1",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    """[HP-2.1-3]: origins are compared exactly, so such an entry would never match."""
    (text,) = problems(origins=["https://ok.example.com", origin])
    assert text.startswith("--origins must be what a browser sends as Origin, like https://")


@pytest.mark.parametrize("place", ["variable", "file"])
def test_a_problem_names_where_the_value_came_from(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator looks in the right place at once."""
    file = tmp_path / "homeport.toml"
    file.write_text("heartbeat_s = -1\n" if place == "file" else "")
    if place == "variable":
        monkeypatch.setenv("HOMEPORT_HEARTBEAT_S", "-1")
    source = "HOMEPORT_HEARTBEAT_S" if place == "variable" else f"heartbeat_s in {file}"
    assert problems(file) == [f"{source} should be greater than 0"]


def test_everything_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start, all problems."""
    monkeypatch.setenv("HOMEPORT_REGOIN", "eu")
    found = problems(region="us", replicas=0, key_fiel="x")
    assert [text.split()[0] for text in found] == [
        "HOMEPORT_REGOIN",
        "--key-fiel",
        "--region",
        "--replicas",
    ]


# --- the file ------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A configuration that was named and is not there is not skipped."""
    missing = tmp_path / "none.toml"
    assert problems(missing) == [
        f"{missing} can't be read (No such file or directory): check the path"
    ]
    assert problems(tmp_path) == [f"{tmp_path} can't be read (Is a directory): check the path"]


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    """The text tells the line."""
    file = tmp_path / "homeport.toml"
    file.write_text('region = "eu"\nregion\n')
    (text,) = problems(file)
    assert text.startswith(f"{file} is not TOML: ")
    assert "line 2" in text
    file.write_bytes(b'region = "\xff"')
    assert problems(file) == [f"{file} is not UTF-8: save it as UTF-8"]


def test_settings_cannot_be_edited() -> None:
    """What was checked is what runs."""
    settings = load_settings(None, GOOD)
    with pytest.raises(ValidationError):
        settings.region = "cn"


def test_variables_do_not_reach_settings_made_in_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources are merged in one place; a constructor takes what it is given."""
    monkeypatch.setenv("HOMEPORT_ORIGINS", json.dumps(["https://elsewhere.example.com"]))
    assert Settings(**GOOD).origins == []


# --- protection ----------------------------------------------------------------------------------


def test_protection_has_defaults_that_hurt_nobody() -> None:
    """An office behind one address, a balancer on loopback, a load test."""
    settings = load_settings(None, GOOD)
    assert (settings.max_connections_per_ip, settings.ip_connect_rate) == (2000, 100)
    assert (settings.connect_rate, settings.max_outbox_bytes) == (0, 256 * 1024 * 1024)
    assert settings.trusted_proxies == ["127.0.0.0/8", "::1/128"]
    assert settings.client_address_header is None
    assert not settings.wss_proxy_protocol
    assert not settings.plain_proxy_protocol


def test_trusted_proxies_are_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name, or an address with bits beyond its mask, is a mistake."""
    monkeypatch.setenv("HOMEPORT_TRUSTED_PROXIES", '["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]')
    assert len(load_settings(None, GOOD).trusted_proxies) == 3
    monkeypatch.delenv("HOMEPORT_TRUSTED_PROXIES")
    for wrong in ("balancer", "10.0.0.1/8", "10.0.0.0/33", ""):
        (problem,) = problems(trusted_proxies=[wrong])
        assert "is no network: write it like 10.0.0.0/8" in problem


def test_a_header_needs_somebody_to_trust() -> None:
    """Else anybody could say whose connection it is."""
    (one,) = problems(client_address_header="forwarded", trusted_proxies=[])
    assert one.startswith("client_address_header needs trusted_proxies")
    (two,) = problems(plain_proxy_protocol=True, trusted_proxies=[])
    assert two.startswith("plain_proxy_protocol needs trusted_proxies")
    (three,) = problems(wss_proxy_protocol=True)
    assert three == "wss_proxy_protocol needs wss_listen: set both"
    assert problems(client_address_header="x-real-ip")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_connections_per_ip": -1},
        {"ip_connect_rate": -1},
        {"connect_rate": -1},
        {"max_outbox_bytes": 1000},
        {"ip_connect_rate": 0.5},
    ],
)
def test_a_limit_is_a_number(wrong: dict[str, Any]) -> None:
    """0 is no limit; less is nothing, and so small a memory would close everybody."""
    assert len(problems(**wrong)) == 1


@pytest.mark.parametrize(
    ("flag", "wrong"),
    [("workers", 0), ("workers", "many"), ("drain_s", 0), ("ops_listen", "9600")],
)
def test_wrong_values_of_a_replica_are_refused(flag: str, wrong: Any) -> None:
    """No worker, no time to leave, a port without a host."""
    (problem,) = problems(**{flag: wrong})
    assert problem.startswith("--" + flag.replace("_", "-"))


def test_a_configuration_that_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A pipe has nobody who writes, and a device no end."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ConfigError, match=rf"{path} can't be read \(it is a .*no file\)"):
            load_settings(path, {})


def test_a_newer_setting_is_a_warning_where_the_file_says_so(tmp_path: Path) -> None:
    """A gateway that is rolled back refused the file that the newer one ran with. A typo is refused
    as before, and so is one in a flag, which belongs to this gateway alone."""
    file = tmp_path / "gateway.toml"
    lines = "".join(f'{key} = "{value}"\n' for key, value in GOOD.items())
    file.write_text(lines + "of_tomorrow = 5\n[more]\nx = 1\n")
    with pytest.raises(ConfigError, match=r"of_tomorrow in .* is not a setting"):
        load_settings(file, {})
    file.write_text(lines + "compatible = true\nof_tomorrow = 5\n[more]\nx = 1\n")
    with capture_logs() as said:
        assert load_settings(file, {}).compatible
    assert [event["event"] for event in said] == ["setting_unknown"] * 2
    assert "of_tomorrow in" in said[0]["problem"]
    with pytest.raises(ConfigError, match="--of-tomorrow is not a setting"):
        load_settings(file, {"of_tomorrow": 5})
    file.write_text(lines + 'compatible = "yes, please"\nof_tomorrow = 5\n')
    with pytest.raises(ConfigError, match="compatible in"):
        load_settings(file, {})
