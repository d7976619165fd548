"""Help that a stranger can follow, and errors that are one line and an exit code."""

from __future__ import annotations

import pytest

from gateway import __version__
from tests.gateway.cli.conftest import Region, run

COMMANDS = [
    "dev",
    "serve",
    "drain",
    "send",
    "listen",
    "history",
    "conversations",
    "group create",
    "group rename",
    "group delete",
    "group add",
    "group remove",
    "group leave",
    "group role",
    "group mute",
    "group list",
    "group show",
    "room join",
    "room send",
    "room members",
    "kick",
    "user show",
    "user hash",
    "user trace",
    "doctor",
    "bench chat",
    "bench report",
    "app create",
    "app list",
    "app show",
    "app set",
    "app rotate-certificate",
    "app keys",
    "app add-key",
    "app remove-key",
    "app delete",
    "token new",
    "token inspect",
    "token check",
    "token revoke",
    "keys init",
    "keys rotate",
    "keys check",
    "config show",
    "config check",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    """An operator finds each command, and each says in a sentence what it does."""
    ran = run(*command.split(), "--help")
    assert ran.code == 0
    assert f"homeport {command}" in ran.out.splitlines()[0]
    assert ran.out.split("\n\n")[1].endswith(".")


@pytest.mark.parametrize("group", ["", "group", "room", "app", "token", "keys", "config"])
def test_exit_codes_are_documented(group: str) -> None:
    """A script's author finds what the exit codes mean."""
    ran = run(*group.split(), "--help")
    assert "Exit codes: 0 done; 1 refused" in ran.out


def test_an_unknown_command_is_wrong_usage() -> None:
    """Exit code 2, and the nearest command."""
    ran = run("lisen")
    assert ran.code == 2
    assert "listen" in ran.err


def test_without_a_gateway_the_text_says_how_to_get_one() -> None:
    """Exit code 3: in an empty folder there is nothing to list."""
    ran = run("app", "list")
    assert ran.code == 3
    assert "`homeport dev` makes one" in ran.err
    assert ran.out == ""


def test_the_environment_can_name_the_gateway(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside a container the HOMEPORT_* variables are the configuration."""
    for line in region.config.read_text().splitlines():
        name, _, value = line.partition(" = ")
        monkeypatch.setenv(f"HOMEPORT_{name.upper()}", value.strip('"'))
    assert run("app", "create", "shop").code == 0
    assert "shop" in run("app", "list").out


def test_a_store_that_is_away_is_not_reachable_now(region: Region) -> None:
    """Exit code 4: the same command may work later."""
    region.valkey.stop()
    ran = region.run("app", "list")
    assert ran.code == 4
    assert ran.err.startswith("homeport: ")
    assert len(ran.err.splitlines()) == 1


def test_a_store_of_another_region_is_refused(region: Region) -> None:
    """G6: commands, too, keep out of another region's Redis."""
    region.create()
    (region.folder / "keys.json").unlink()
    run("keys", "init", region.folder / "keys.json", "--region", "na")
    region.config.write_text(region.config.read_text().replace('"eu"', '"na"'))
    ran = region.run("app", "list")
    assert ran.code == 1
    assert "belongs to region 'eu'" in ran.err


def test_the_version_is_told() -> None:
    """In a roll-out somebody asks which gateway is what."""
    ran = run("--version")
    assert (ran.code, ran.out.strip()) == (0, __version__)
