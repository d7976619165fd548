"""Reports: what the ops process hears of a worker, and that nobody has to be there to hear it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from homeport import frames

from gateway.ops import datagrams
from gateway.ops.datagrams import Report
from gateway.runtime.report import LAST_TRIES
from gateway.runtime.worker import Worker
from tests.harness import ANSWER_S, make_settings, running_worker, until
from tests.inside import Inside


class Ears:
    """The ops process' end."""

    def __init__(self, folder: Path) -> None:
        self._ears = datagrams.Ears(folder)
        self._heard: list[Report] = []

    async def hear(self) -> Report:
        """The next report."""

        def has_heard() -> bool:
            self._heard += self._ears.hear()
            return bool(self._heard)

        await until(has_heard)
        return self._heard.pop(0)

    async def hear_last(self) -> Report:
        """The last of those that came."""
        heard = await self.hear()
        return self._heard.pop() if self._heard else heard

    def close(self) -> None:
        """Be gone, as a killed process is: the socket's file stays."""
        self._ears.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture
def ears(folder: Path) -> Iterator[Ears]:
    """Somebody who listens."""
    ears = Ears(folder)
    yield ears
    ears.close()


async def test_a_worker_says_how_it_is_from_start_to_end(
    redis_url: str, tmp_path: Path, folder: Path, ears: Ears
) -> None:
    """Starting, ready with a proof of delivery, draining; with its name and process."""
    settings = make_settings(redis_url, tmp_path, ops_listen="127.0.0.1:1")
    async with running_worker(settings, folder=folder):
        first = await ears.hear()
        assert (first.worker, first.pid, first.state) == ("1", os.getpid(), "starting")
        assert first.proof_s < 0
        async with asyncio.timeout(ANSWER_S):
            while (report := await ears.hear()).state != "ready" or report.proof_s < 0:
                pass
        assert report.proof_s < ANSWER_S
    last = await ears.hear_last()
    assert (last.state, last.to_drain, last.left) == ("draining", 0, 0)


async def test_one_report_per_second_has_the_numbers(
    redis_url: str, tmp_path: Path, folder: Path, ears: Ears
) -> None:
    """Of four reports; and the last one, whenever it comes: what was counted since would be lost
    with the worker."""
    settings = make_settings(redis_url, tmp_path, ops_listen="127.0.0.1:1")
    async with running_worker(settings, folder=folder):
        told = [(await ears.hear()).numbers is not None for _ in range(6)]
        assert told == [True, False, False, False, True, False]
    assert (await ears.hear_last()).numbers is not None


async def test_numbers_that_nobody_took_are_in_the_next_report(
    redis_url: str, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ops process was away, or its buffer full: the metrics are a quarter of a second older
    then, and not a whole one. The last report is tried again, for no other follows."""
    sent, taken = list[bool](), False

    def say(mouth: datagrams.Mouth, report: Report) -> bool:
        sent.append(report.numbers is not None)
        return taken

    monkeypatch.setattr(datagrams.Mouth, "say", say)
    settings = make_settings(redis_url, tmp_path, ops_listen="127.0.0.1:1")
    async with running_worker(settings, folder=folder):
        await until(lambda: len(sent) >= 3)
        assert all(sent)
        taken = True
        sent.clear()
        await until(lambda: len(sent) >= 3)
        assert sent[:3] == [True, False, False]
        taken = False
        sent.clear()
    assert sent[-LAST_TRIES:] == [True] * LAST_TRIES


async def heard(monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether somebody hears the next two reports that a worker here makes."""
    taken: list[bool] = []
    say = datagrams.Mouth.say

    def noting(mouth: datagrams.Mouth, report: Report) -> bool:
        taken.append(say(mouth, report))
        return taken[-1]

    with monkeypatch.context() as patch:
        patch.setattr(datagrams.Mouth, "say", noting)
        await until(lambda: len(taken) >= 2)
    return any(taken)


async def test_an_ops_process_that_is_away_is_nothing_to_a_worker(
    redis_url: str, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was never there, it was killed, it is there again."""
    settings = make_settings(redis_url, tmp_path, ops_listen="127.0.0.1:1")
    async with running_worker(settings, folder=folder) as running:
        report = running.inside.chores["report"]
        ears = Ears(folder)
        await ears.hear()
        ears.close()
        assert not await heard(monkeypatch)
        (folder / datagrams.SOCKET).unlink()
        assert not await heard(monkeypatch)
        ears = Ears(folder)
        assert (await ears.hear()).state == "ready"
        ears.close()
        assert not report.done()


async def test_ears_that_are_full_hold_nobody_up(
    redis_url: str, tmp_path: Path, folder: Path, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ops process that hangs: its socket's buffer fills, and reports are lost."""
    settings = make_settings(redis_url, tmp_path, ops_listen="127.0.0.1:1")
    async with running_worker(settings, folder=folder) as running:
        mouth, word = datagrams.Mouth(folder), Report("2", 1, "ready", 0, 0, 0.0, "", "")
        assert any(not mouth.say(word) for _ in range(100_000))
        mouth.close()
        assert not await heard(monkeypatch)
        async with running.client("alice") as alice:
            assert isinstance(await alice.say("alice", "x"), frames.Ok)


@pytest.mark.parametrize("missing", ["folder", "ops_listen"])
async def test_without_an_ops_process_nothing_is_probed_or_counted(
    redis_url: str, tmp_path: Path, folder: Path, missing: str
) -> None:
    """`homeport dev`, and a gateway that nobody watches, do none of it."""
    settings = make_settings(
        redis_url, tmp_path, ops_listen=None if missing == "ops_listen" else "127.0.0.1:1"
    )
    worker = Worker(settings, folder=None if missing == "folder" else folder)
    try:
        await worker.start()
        names = Inside(worker).chores.keys()
        assert not names & {"probe", "report"}
        assert os.listdir(folder) == []
    finally:
        await worker.stop()
