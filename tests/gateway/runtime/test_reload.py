"""Live changes of a worker: what is taken up, what waits for a restart, what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from homeport import codes, frames
from structlog.testing import capture_logs
from structlog.typing import EventDict
from websockets.exceptions import InvalidStatus

from gateway import files
from gateway.config import Settings, Source
from gateway.dev import certificates
from gateway.runtime import logs, reload
from gateway.runtime.reload import LIVE, RESTART, current
from gateway.runtime.serving import serve
from gateway.runtime.starting import Listening
from gateway.runtime.worker import Worker
from tests.harness import RawClient, make_settings, until
from tests.inside import Inside


@pytest.fixture(autouse=True)
def _looks_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the test says when a worker looks at its files; the level is the process' own."""
    monkeypatch.setattr(reload, "LOOK_S", 3600)
    monkeypatch.setattr(logs.threshold, "number", logs.threshold.number)


class Running:
    """A worker with a configuration file."""

    def __init__(self, worker: Worker, listening: Listening, file: Path) -> None:
        self.worker = worker
        self.inside = Inside(worker)
        self.url = f"ws://{listening.plain}/v1"
        self._file = file
        self._lines = dict(line.split(" = ") for line in file.read_text().splitlines())

    def write(self, **settings: Any) -> None:
        """Write the file anew, with settings beside or in place of the first ones, as TOML."""
        lines = self._lines | settings
        self._file.write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))

    async def reload(self, **settings: Any) -> list[EventDict]:
        """Write the file and take it up, as at SIGHUP; returns what the log says."""
        self.write(**settings)
        self.worker.reloading.ask()
        return await self.look()

    async def look(self) -> list[EventDict]:
        """One look at the files; returns what the log says."""
        with capture_logs() as said:
            await self.worker.reloading.look()
        return said

    async def lets_in(self, origin: str) -> bool:
        """Whether a browser's page of this origin gets through the upgrade."""
        try:
            async with RawClient.open(self.url, origin=origin):
                return True
        except InvalidStatus as error:
            assert error.response.status_code == 403
            return False


def write_config(settings: Settings, file: Path) -> Path:
    """A configuration file of the settings that every gateway needs."""
    names = ("region", "redis_url", "durability", "key_file", "plain_listen")
    file.write_text("".join(f'{name} = "{getattr(settings, name)}"\n' for name in names))
    return file


@contextlib.asynccontextmanager
async def started(settings: Settings, file: Path, **flags: Any) -> AsyncIterator[Running]:
    """A worker that was started with `file` and `flags`."""
    source = Source(write_config(settings, file), flags)
    worker = Worker(source.read(), source=source)
    try:
        yield Running(worker, await worker.start(), file)
    finally:
        await worker.stop()


@pytest.fixture
async def running(settings: Settings, tmp_path: Path) -> AsyncIterator[Running]:
    """A worker in sg, with a configuration file and no flags."""
    async with started(settings, tmp_path / "homeport.toml") as running:
        yield running


def test_each_setting_is_live_or_waits_for_a_restart(settings: Settings) -> None:
    """Whoever adds a setting says which; and what is live has something that takes it up."""
    assert LIVE.keys() | RESTART == set(Settings.model_fields)
    assert not LIVE.keys() & RESTART
    parts = {"certificate", "keyring", *Worker(settings).reloading.parts}
    assert set(LIVE.values()) == parts


async def test_origins_change_for_who_comes_next(running: Running) -> None:
    """Section 2.2: by the next upgrade; who is connected stays."""
    await running.reload(origins='["https://a.example"]')
    async with RawClient.open(running.url, origin="https://a.example") as inside:
        said = await running.reload(origins='["https://b.example"]')
        assert [event["changed"] for event in said] == [["origins"]]
        assert await running.lets_in("https://b.example")
        assert not await running.lets_in("https://a.example")
        await inside.send(frames.Connect(1, "d1", None))  # still listened to, and answered
        assert (await inside.expect(frames.Error)).code == codes.TOKEN_MISSING.number
    async with RawClient.open(running.url):
        pass
    await running.reload(allow_missing_origin="false")
    with pytest.raises(InvalidStatus):
        async with RawClient.open(running.url):
            pass


async def test_the_region_directory_changes(running: Running) -> None:
    """HP-5.1-7: who came to the wrong region is told where its home is by now."""
    elsewhere = f"04{'ab' * 15}"
    for home in ("wss://old.example/v1", "wss://new.example/v1"):
        await running.reload(directory=f'{{na = "{home}"}}')
        async with RawClient.open(running.url) as client:
            await client.send(frames.Connect(1, "d1", token_of(elsewhere)))
            error = await client.expect(frames.Error)
            assert error.code == codes.WRONG_REGION.number
            assert error.details == {"region": "na", "url": home}


def token_of(app_id: str) -> str:
    """A token that says which app it is of; it is not looked at further."""
    import jwt

    claims = {"iss": app_id, "sub": "alice", "aud": "homeport:na", "iat": 1, "exp": 2}
    return jwt.encode(claims, "k" * 64, "HS256")


async def test_the_log_level_changes(running: Running) -> None:
    """Both ways; tests/gateway/runtime/test_logs.py has what is written then."""
    await running.reload(log_level='"error"')
    assert logs.threshold.number == 40
    await running.reload()
    assert logs.threshold.number == 20


async def test_what_needs_a_restart_is_named_and_not_taken_up(running: Running) -> None:
    """In one line, each time; what can change does."""
    for _ in range(2):
        said = await running.reload(
            heartbeat_s=7, replicas=3, origins='["https://a.example"]', log_format='"console"'
        )
        (line,) = [event for event in said if event["event"] == "restart_needed"]
        assert line["settings"] == ["heartbeat_s", "log_format", "replicas"]
        assert await running.lets_in("https://a.example")
        assert running.worker.reloading.settings.heartbeat_s == 25
    assert [event["event"] for event in await running.reload()] == ["reloaded"]


async def test_flags_keep_their_rank(settings: Settings, tmp_path: Path) -> None:
    """What was said on the command line beats what the file says later."""
    async with started(settings, tmp_path / "homeport.toml", log_level="warning") as running:
        await running.reload(log_level='"debug"', origins='["https://a.example"]')
        assert running.worker.reloading.settings.log_level == "warning"
        assert await running.lets_in("https://a.example")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"orgins": "[]"}, "did you mean origins in"),
        ({"log_level": '"loud"'}, "log_level in"),
        ({"directory": "[["}, "is not TOML"),
        ({"key_file": '"/none.json"'}, "there is no keyring at /none.json"),
        ({"key_file": '"/dev/null/none"'}, "/dev/null/none"),
    ],
)
async def test_a_wrong_file_changes_nothing(
    running: Running, wrong: dict[str, str], says: str
) -> None:
    """All or nothing: nor what else stands in the file. The log says what is wrong, once."""
    await running.reload(origins='["https://a.example"]')
    (line,) = await running.reload(**{"origins": '["https://b.example"]', **wrong})
    assert (line["event"], line["log_level"]) == ("reload_refused", "error")
    assert says in line["problem"]
    assert await running.lets_in("https://a.example")
    assert not await running.lets_in("https://b.example")
    assert not await running.look()
    await running.reload(origins='["https://b.example"]')
    assert await running.lets_in("https://b.example")


async def test_a_wrong_certificate_changes_nothing_else(redis_url: str, tmp_path: Path) -> None:
    """All or nothing, between the parts too."""
    certs = certificates.ensure(tmp_path, datetime.now(UTC))
    settings = make_settings(redis_url, tmp_path)
    flags = {"wss_listen": "127.0.0.1:0", "tls_cert": certs.cert, "tls_key": certs.key}
    async with started(settings, tmp_path / "homeport.toml", **flags) as running:
        certs.cert.write_text("nothing")
        (line,) = await running.reload(origins='["https://a.example"]')
        assert "can't be used together" in line["problem"]
        assert not await running.lets_in("https://a.example")


@pytest.mark.parametrize("which", ["homeport.toml", "sg.keys.json"])
async def test_a_pipe_in_the_place_of_a_file_is_refused(
    running: Running, tmp_path: Path, which: str
) -> None:
    """G10: the event loop opened it, and everybody waited until somebody would write into it."""
    (tmp_path / which).unlink()
    os.mkfifo(tmp_path / which)
    running.worker.reloading.ask()
    async with asyncio.timeout(10):
        (line,) = await running.look()
        assert f"{tmp_path / which} " in line["problem"]
        assert "it is a pipe, and no file" in line["problem"]
        assert await running.lets_in("https://none.example") is False


async def test_files_that_do_not_answer_hold_up_nobody(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: a network mount hangs: clients are served, the log says so once, and when it answers
    what changed meanwhile is taken up."""
    answers, keyring = threading.Event(), running.inside.keyring
    changed = {"origins": '["https://a.example"]'}

    def hang(_: Path) -> None:
        assert answers.wait(60)

    with monkeypatch.context() as patch:
        patch.setattr(files, "PATIENCE_S", 0.1)
        patch.setattr(keyring, "prepare", hang)
        (line,) = await running.reload(**changed)
        assert "see whether a mount hangs" in line["problem"]
        assert await running.lets_in("https://a.example") is False
        assert await running.look() == []
        answers.set()
    async with asyncio.timeout(30):
        while "reloaded" not in [event["event"] for event in await running.reload(**changed)]:
            pass  # the thread is on its way back
    assert await running.lets_in("https://a.example")


async def test_what_was_refused_is_tried_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the cause was not in the files, as a clock that was behind a new certificate, they
    never changed again, and the old certificate was shown until its end."""
    keyring = running.inside.keyring

    def fail(_: Path) -> None:
        raise OSError("the disk is away")

    monkeypatch.setattr(reload, "AGAIN_S", 0)
    await running.look()
    running.write(origins='["https://a.example"]')
    with monkeypatch.context() as patch:
        patch.setattr(keyring, "prepare", fail)
        await running.look()
        (line,) = await running.look()
        assert line["event"] == "reload_refused"
        assert await running.look() == []  # said once
    (line,) = await running.look()
    assert line["event"] == "reloaded"
    assert await running.look() == []


async def test_files_are_taken_up_once_they_have_stood_still_for_a_look(running: Running) -> None:
    """Who writes two files, or one slowly, is done by then: no word of a half of it."""
    await running.look()
    running.write(origins='["https://a.ex')
    assert await running.look() == []
    running.write(origins='["https://a.example"]')
    assert await running.look() == []
    (line,) = await running.look()
    assert (line["event"], line["changed"]) == ("reloaded", ["origins"])
    assert await running.look() == []
    assert await running.lets_in("https://a.example")


async def test_a_worker_that_starts_late_takes_up_the_files_as_they_are(
    settings: Settings, tmp_path: Path
) -> None:
    """A supervisor read the settings long before it forked this one."""
    file = tmp_path / "homeport.toml"
    source = Source(write_config(settings, file), {})
    worker = Worker(source.read(), source=source)
    file.write_text(file.read_text() + 'origins = ["https://a.example"]\n')
    try:
        running = Running(worker, await worker.start(), file)
        await running.look()
        await running.look()
        assert await running.lets_in("https://a.example")
    finally:
        await worker.stop()


async def test_a_link_that_leads_elsewhere_is_a_change(settings: Settings, tmp_path: Path) -> None:
    """Kubernetes mounts a secret as links through a folder `..data`, which is a link that it
    replaces; size and time of the new files may be those of the old ones."""
    for number, origin in ((1, "https://a.example"), (2, "https://b.example")):
        (tmp_path / f"v{number}").mkdir()
        file = write_config(settings, tmp_path / f"v{number}" / "homeport.toml")
        file.write_text(file.read_text() + f'origins = ["{origin}"]\n')
        os.utime(file, (1e9, 1e9))
    data = tmp_path / "..data"
    data.symlink_to("v1")
    (tmp_path / "homeport.toml").symlink_to("..data/homeport.toml")
    source = Source(tmp_path / "homeport.toml", {})
    worker = Worker(source.read(), source=source)
    try:
        running = Running(worker, await worker.start(), tmp_path / "homeport.toml")
        await running.look()
        assert await running.lets_in("https://a.example")
        (tmp_path / "new").symlink_to("v2")
        (tmp_path / "new").replace(data)
        await running.look()
        await running.look()
        assert await running.lets_in("https://b.example")
    finally:
        await worker.stop()


async def test_sighup_reloads_at_once(settings: Settings, tmp_path: Path) -> None:
    """`systemctl reload`: no look has to come round, and no session ends."""
    file = write_config(settings, tmp_path / "homeport.toml")
    source = Source(file, {})
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(source.read(), on_ready=ready.set_result, source=source))
    url = f"ws://{(await ready).plain}/v1"
    async with RawClient.open(url) as inside:
        with capture_logs() as said:
            file.write_text(file.read_text() + 'origins = ["https://a.example"]\n')
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: any(event["event"] == "reloaded" for event in said))
        async with RawClient.open(url, origin="https://a.example"):
            pass
        await inside.send(frames.Connect(1, "d1", None))
        assert (await inside.expect(frames.Error)).code == codes.TOKEN_MISSING.number
        os.kill(os.getpid(), signal.SIGTERM)
        await inside.closed()
    await serving


async def test_dev_leaves_sighup_alone(settings: Settings) -> None:
    """Without a source there is no handler: who closes the terminal ends `homeport dev`."""
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, on_ready=ready.set_result))
    await ready
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    os.kill(os.getpid(), signal.SIGTERM)
    await serving


async def test_an_address_that_the_kernel_chose_is_no_change(
    settings: Settings, tmp_path: Path
) -> None:
    """A supervisor tells its workers the port that it got for port 0; the file does not."""
    source = Source(write_config(settings, tmp_path / "homeport.toml"), {})
    given = source.first.model_copy(update={"plain_listen": "127.0.0.1:1"})
    reloading = Worker(given, source=source).reloading
    reloading.ask()
    with capture_logs() as said:
        await reloading.look()
    assert said == []


async def test_a_process_that_starts_late_goes_by_what_the_file_says_now(
    settings: Settings, tmp_path: Path
) -> None:
    """A worker that is forked anew: as the others do, that took it up; also where it is wrong."""
    file = write_config(settings, tmp_path / "homeport.toml")
    source = Source(file, {})
    text = file.read_text()
    file.write_text(text + 'origins = ["https://a.example"]\nheartbeat_s = 7\n')
    found = current(source.first, source)
    assert (found.origins, found.heartbeat_s) == (["https://a.example"], 25)
    file.write_text("[[")
    with capture_logs() as said:
        assert current(found, source) is found
    assert [event["event"] for event in said] == ["reload_refused"]
