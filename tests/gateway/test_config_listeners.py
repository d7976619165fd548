"""The settings of listeners: gateway/config.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gateway.config import ConfigError, load_settings
from tests.gateway.configuring import GOOD, problems


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("HOMEPORT_"):
            monkeypatch.delenv(name)


# --- listeners -----------------------------------------------------------------------------------


def test_no_listener_at_all_is_refused() -> None:
    """A gateway that nobody can reach does not start."""
    assert problems(plain_listen=None) == ["nothing to listen on: set wss_listen, like [::]:8443"]


@pytest.mark.parametrize("given", [{}, {"tls_cert": "c.pem"}, {"tls_key": "k.pem"}])
def test_wss_without_certificate_or_key_is_refused(given: dict[str, Any]) -> None:
    """G8: no listener falls back to plain text."""
    assert problems(wss_listen="0.0.0.0:8443", **given) == [
        "wss_listen needs tls_cert and tls_key: set both to PEM files"
    ]
    both = {"tls_cert": "c.pem", "tls_key": "k.pem"}
    settings = load_settings(None, GOOD | {"wss_listen": "0.0.0.0:8443"} | both)
    assert settings.tls_cert == Path("c.pem")


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8080", "[::]:8080", "10.0.0.5:8080", "gateway.internal:8080"]
)
def test_a_plain_listener_off_loopback_is_refused(address: str) -> None:
    """G8: tokens never cross a network in plain text, unless a proxy is said to speak TLS."""
    (text,) = problems(plain_listen=address)
    assert text.startswith("plain_listen would send tokens and messages unencrypted: use wss_list")
    assert text.endswith("set tls_terminated_upstream")
    allowed = GOOD | {"plain_listen": address, "tls_terminated_upstream": True}
    assert load_settings(None, allowed).plain_listen == address


@pytest.mark.parametrize("text", ["8080", "[::1]", "host:65536"])
def test_a_listener_that_is_no_address_is_refused(text: str) -> None:
    """A listener never opens where nobody meant it to."""
    assert problems(plain_listen=text) == [
        "--plain-listen must be host:port, like 10.0.0.5:8443 or localhost:8080; "
        "[::]:8443 takes IPv4 and IPv6 on all interfaces, 0.0.0.0:8443 takes IPv4"
    ]


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.8.9.1:80", "[::1]:8080", "localhost:80"])
def test_a_plain_listener_on_loopback_is_accepted(address: str) -> None:
    """What only this machine reaches needs no TLS."""
    assert load_settings(None, GOOD | {"plain_listen": address}).plain_listen == address


@pytest.mark.parametrize(
    ("plain", "ops"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("127.0.0.1:8080", "[::]:8080"),
        ("127.0.0.1:8081,127.0.0.1:8080", "127.0.0.1:8080"),
    ],
)
def test_two_listeners_can_not_share_an_address(plain: str, ops: str) -> None:
    """Such a gateway said `ready`, let clients in, and ended as its ops listener began."""
    assert problems(plain_listen=plain, ops_listen=ops) == [
        "wss_listen, plain_listen, ops_listen and api_listen can't share an address: "
        "give each a port of its own"
    ]
    for one, other in (("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:8080", "127.0.0.1:8081")):
        load_settings(None, GOOD | {"plain_listen": one, "ops_listen": other})


def test_two_faults_of_the_listeners_are_two_problems() -> None:
    """One start, all problems."""
    assert len(problems(wss_listen="0.0.0.0:1", plain_listen="0.0.0.0:2")) == 2


def test_a_listener_has_one_address_or_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list in the file; in a variable with commas, or as JSON like every other list."""
    file = tmp_path / "gateway.toml"
    two = "127.0.0.1:8080,[::1]:8080"
    lines = [f'{key} = "{value}"\n' for key, value in GOOD.items() if key != "plain_listen"]
    file.write_text("".join(lines) + 'plain_listen = ["127.0.0.1:8080", "[::1]:8080"]\n')
    assert load_settings(file, {}).plain_listen == two
    for port, name in enumerate(("WSS_LISTEN", "OPS_LISTEN", "PLAIN_LISTEN"), 8081):
        both = f"127.0.0.1:{port},[::1]:{port}"
        for text in (both, f'["127.0.0.1:{port}", "[::1]:{port}"]'):
            monkeypatch.setenv(f"HOMEPORT_{name}", text)
            given = {"tls_cert": "c", "tls_key": "k"}
            assert getattr(load_settings(file, given), name.lower()) == both
    monkeypatch.setenv("HOMEPORT_PLAIN_LISTEN", "[::1]:8080")
    assert load_settings(file, {"tls_cert": "c", "tls_key": "k"}).plain_listen == "[::1]:8080"


@pytest.mark.parametrize(
    "wrong", ["[]", "[8080]", '["127.0.0.1"]', '["127.0.0.1:1", ""]', "{}", "1"]
)
def test_a_list_of_something_else_is_refused(tmp_path: Path, wrong: str) -> None:
    """With what a listener is."""
    file = tmp_path / "gateway.toml"
    lines = [f'{key} = "{value}"\n' for key, value in GOOD.items() if key != "plain_listen"]
    file.write_text("".join(lines) + f"plain_listen = {wrong}\n")
    with pytest.raises(ConfigError, match=r"plain_listen in .* (must be host:port|should be)"):
        load_settings(file, {})


@pytest.mark.parametrize("text", ["*:8443", ":8443", "[*]:8443"])
def test_a_star_is_refused_with_what_to_write(text: str) -> None:
    """Some programs take it for both families, others for one: here it is written out."""
    (problem,) = problems(plain_listen=text)
    assert "[::]:8443 takes IPv4 and IPv6 on all interfaces" in problem or "brackets" in problem


def test_an_address_beside_one_that_includes_it_is_refused() -> None:
    """It can't be had twice: the kernel would say so of the second, and not why."""
    upstream: dict[str, Any] = {"tls_terminated_upstream": True}
    for text in ("[::]:1,0.0.0.0:1", "127.0.0.1:1,[::]:1", "10.0.0.1:1,10.0.0.1:1"):
        (problem,) = problems(plain_listen=text, **upstream)
        assert "beside what it includes: leave the other out" in problem
    for text in ("[::]:1,0.0.0.0:2", "127.0.0.1:0,[::]:0", "10.0.0.1:1,[fd00::1]:1"):
        assert load_settings(None, GOOD | upstream | {"plain_listen": text})


def test_every_address_of_a_plain_listener_is_on_loopback() -> None:
    """One that is not gives tokens and messages away, wherever it stands in the list."""
    for text in ("127.0.0.1:1,10.0.0.5:1", "[::]:1,127.0.0.1:2"):
        (problem,) = problems(plain_listen=text)
        assert problem.startswith("plain_listen would send tokens and messages unencrypted")
    assert load_settings(None, GOOD | {"plain_listen": "127.0.0.1:1,[::1]:1,localhost:2"})
