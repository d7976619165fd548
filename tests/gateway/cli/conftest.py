"""A region of its own for each test: a Valkey, a key file and a configuration, in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app
from gateway.dev.embedded import EmbeddedValkey, packaged_server
from gateway.security.keyring import Keyring


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as one JSON value."""
        return json.loads(self.out)


def run(*arguments: str | Path, stdin: str = "") -> Ran:
    """Run `homeport` with `arguments` in this process."""
    result = CliRunner().invoke(
        app, [str(one) for one in arguments], input=stdin, prog_name="homeport"
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


@dataclass(frozen=True, slots=True)
class Region:
    """A region's files, and `homeport` on them."""

    folder: Path
    config: Path
    valkey: EmbeddedValkey

    def run(self, *arguments: str, stdin: str = "") -> Ran:
        """Run `homeport` with this region's configuration."""
        return run(*arguments, "--config", self.config, stdin=stdin)

    def create(self, *options: str) -> dict[str, Any]:
        """Create an app, and return what was printed of it."""
        created: dict[str, Any] = self.run("app", "create", "shop", *options, "--json").json
        return created


@pytest.fixture(autouse=True)
def _no_outer_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The person who runs the tests may have a Homeport of their own."""
    for name in [name for name in os.environ if name.startswith("HOMEPORT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    """Region eu, with its store running and empty."""
    Keyring.create(tmp_path / "keys.json", "eu")
    with EmbeddedValkey(tmp_path / "data", binary=packaged_server()) as valkey:
        config = tmp_path / "homeport.toml"
        config.write_text(
            f'region = "eu"\nredis_url = "{valkey.url}"\nkey_file = "{tmp_path}/keys.json"\n'
            'plain_listen = "127.0.0.1:0"\ndurability = "memory"\nworkers = 1\n'
        )
        yield Region(tmp_path, config, valkey)
