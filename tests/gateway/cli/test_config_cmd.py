"""`homeport config`."""

from __future__ import annotations

import pytest

from gateway.cli.config_cmd import without_password
from tests.gateway.cli.conftest import Region, run


def test_show_is_what_the_gateway_would_run_with(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable beats the file, and defaults are shown too."""
    monkeypatch.setenv("HOMEPORT_HEARTBEAT_S", "7")
    shown = region.run("config", "show", "--json").json
    assert shown["region"] == "eu"
    assert shown["heartbeat_s"] == 7
    assert shown["log_level"] == "info"


def test_check_tells_everything_that_is_wrong(region: Region) -> None:
    """All problems at once, one a line, with exit code 2."""
    assert region.run("config", "check").out == "ok\n"
    region.config.write_text('regoin = "eu"\nplain_listen = "0.0.0.0:80"\n')
    ran = region.run("config", "check")
    assert ran.code == 2
    assert "regoin" in ran.err
    assert "redis_url" in ran.err
    assert all(line.startswith("homeport: ") for line in ran.err.splitlines())


def test_a_missing_file_is_told(region: Region) -> None:
    """The path is in the text, and nothing else runs."""
    ran = run("config", "check", "--config", region.folder / "none.toml")
    assert ran.code == 2
    assert "none.toml" in ran.err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hunter2@host/0", "redis://:***@host/0"),
        ("rediss://user:hunter2@host:6380", "rediss://user:***@host:6380"),
        ("redis://user:hunter2@elsewhere@host", "redis://user:***@host"),
        ("redis://user:hunter2/@host", "redis://user:***@host"),
        ("unix://user:hunter2@/run/redis.sock?db=1", "unix://user:***@/run/redis.sock?db=1"),
        (
            "unix:///run/redis.sock?db=1&password=hunter2",
            "unix:///run/redis.sock?db=1&password=***",
        ),
        ("redis://host:6379/0", "redis://host:6379/0"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    """Secrets don't get on a screen or into a log through `config show`."""
    assert without_password(url) == shown
