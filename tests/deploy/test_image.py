"""The image: without Docker, its steps are run one by one."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.deploy.dockerfile import stages
from tests.deploy.tools import DEPLOY, ROOT, run
from tests.harness import START_S, make_settings
from tests.ports import free_port

BUILD_S = 240.0
"""A new environment from the package index; nothing is measured."""

BUILD, FINAL = stages(DEPLOY / "Dockerfile")
TARGET = "/opt/homeport"
"""Where the image has it."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the build stage leaves in TARGET, made by its own steps from what it copies only."""
    context = tmp_path_factory.mktemp("context")
    target = tmp_path_factory.mktemp("opt") / "homeport"
    for instruction, arguments in BUILD.steps:
        if instruction == "COPY":
            *sources, destination = arguments.split()
            for source in sources:
                _copy(source, context, destination)
        elif instruction == "RUN":
            assert TARGET in arguments
            command = arguments.replace(TARGET, str(target))
            environment = {**os.environ, "PYTHON": sys.executable}
            ran = run("sh", "-ec", command, cwd=context, env=environment, timeout=BUILD_S)
            assert ran.returncode == 0, ran.stderr
    yield target
    shutil.rmtree(target)


def _copy(source: str, context: Path, destination: str) -> None:
    """COPY, as Docker does it: into a folder where the destination ends with a slash."""
    place = context / destination
    if (ROOT / source).is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / source, place, ignore=ignored)
    else:
        if destination.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, place)


def test_the_builder_is_sent_what_is_copied_and_nothing_else() -> None:
    """Secrets that lie about in a working folder don't get into an image."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {source for line in BUILD.arguments("COPY") for source in line.split()[:-1]}
    assert sent == copied
    assert all((ROOT / source).exists() for source in copied)
    assert not any(fnmatch.fnmatch(".git", rule) for rule in sent)


def test_the_image_does_not_run_as_root_and_has_a_python_that_homeport_runs_on() -> None:
    """Both stages have the same Python: the environment points to it by its path."""
    assert BUILD.image == FINAL.image
    version = BUILD.image.removeprefix("python:").partition("-")[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(version)
    user, _, group = FINAL.arguments("USER")[-1].partition(":")
    assert int(user) > 0 and int(group) > 0
    assert all(
        name != "RUN" for name, _ in FINAL.steps[FINAL.steps.index(("USER", f"{user}:{group}")) :]
    )


@pytest.mark.timeout(300)
def test_the_steps_of_the_build_make_a_homeport_that_serves(
    installed: Path, redis_url: str, tmp_path: Path
) -> None:
    """What the steps leave starts as the image starts it, and the image's health check agrees.

    Its environment has no development tools, and none of the source tree is in sight.
    """
    names = {path.name for path in (installed / "bin").iterdir()}
    assert "homeport" in names and not names & {"pytest", "ruff", "uv", "pip"}
    port = free_port()
    settings = make_settings(redis_url, tmp_path)
    config = tmp_path / "gateway.toml"
    config.write_text(
        f'region = "sg"\nredis_url = "{redis_url}"\ndurability = "memory"\nworkers = 1\n'
        f'key_file = "{settings.key_file}"\nplain_listen = "127.0.0.1:0"\n'
    )
    environment = FINAL.environment()
    environment["PATH"] = (
        environment["PATH"].replace(TARGET, str(installed)).replace("$PATH", "/usr/bin:/bin")
    )
    environment["HOMEPORT_OPS_LISTEN"] = f"127.0.0.1:{port}"
    command = [*FINAL.command("ENTRYPOINT"), *FINAL.command("CMD")]
    command[command.index("/etc/homeport/gateway.toml")] = str(config)
    check = [word.replace(":9600/", f":{port}/") for word in FINAL.command("HEALTHCHECK")]
    empty = tmp_path / "empty"
    empty.mkdir()
    with subprocess.Popen(
        [installed / "bin" / command[0], *command[1:]],
        cwd=empty,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as gateway:
        try:
            assert gateway.stdout is not None and gateway.stderr is not None
            lines = []
            for line in gateway.stdout:
                lines.append(line.strip())
                if lines[-1] == "ready":
                    break
            assert lines[-1:] == ["ready"], gateway.stderr.read()
            deadline = time.monotonic() + START_S
            while (healthy := run(*check, cwd=empty, env=environment)).returncode != 0:
                assert time.monotonic() < deadline, healthy.stderr  # ops may be up after it
        finally:
            gateway.terminate()
            gateway.wait(START_S)
    assert list(empty.iterdir()) == []
    assert run(*check, cwd=empty, env=environment).returncode != 0
