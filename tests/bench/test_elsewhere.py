"""A gateway that was there before: its address, tokens and process, and when it stalls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.options import options_for
from bench.place import Place, open_place
from bench.record import decoded
from bench.result import Result, load

STALL_S = 1.5
RATE = 100


@pytest.fixture
def place() -> Iterator[Place]:
    """A gateway that this process started, for a bench that only knows its address."""
    with open_place(options_for("chat", {})) as place:
        yield place


class Bench:
    """``python -m bench chat`` against `place`, running."""

    def __init__(self, place: Place, file: Path, *arguments: str) -> None:
        self._file = file
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "bench", "chat", "--url", place.urls[0]),
                *("--clients", "10", "--rate", str(RATE), "--duration", "3", "--warmup", "0"),
                *("--json", str(file), "--slo", "loss=0,dup=0,reorder=0", *arguments),
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def until(self, word: str) -> None:
        """Wait until it says so."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if word in line:
                return
        raise AssertionError(f"it never said {word}")

    def result(self) -> Result:
        """Its result, once it has ended well."""
        told, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, told
        (result,) = load(self._file)
        return result


def test_a_stall_is_charged_for_all_that_was_due_meanwhile(place: Place, tmp_path: Path) -> None:
    """No coordinated omission: a gateway that hangs for a second makes not one message late, but
    all that the schedule had for that second. And its process is found by its port."""
    assert place.app is not None
    assert place.certificate is not None
    (pid,) = place.gateway_pids
    with ExitStack() as stack:
        secret = tmp_path / "certificate"
        secret.touch(0o600)
        secret.write_text(place.certificate + "\n")
        bench = Bench(
            place, tmp_path / "a.json", "--app", place.app, "--certificate-file", str(secret)
        )
        bench.until("loading")
        stack.callback(os.kill, pid, signal.SIGCONT)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(STALL_S)
    result = bench.result()
    delivery = result.latency["delivery"]
    half = STALL_S / 2
    late = delivery.count - sum(
        item.count_added_in_this_iter_step
        for item in decoded(delivery).get_recorded_iterator()
        if item.value_iterated_to < half * 1e6
    )  # fmt: skip
    assert late >= RATE * half * 0.4  # the load begins 0.2 s later, and machines are busy
    assert result.figures["gateway us per message"] > 0
    assert result.options["certificate"] is None


def test_tokens_can_come_from_a_file(place: Place, tmp_path: Path) -> None:
    """One a line; whom to write to is read from them. Too few are told."""
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(place.token(f"user-{n}") for n in range(10)))
    result = Bench(place, tmp_path / "a.json", "--token-file", str(tokens)).result()
    assert result.counts["accepted"] == 3 * RATE
    with pytest.raises(AssertionError, match="10 tokens, 12 are needed"):
        arguments = ("--token-file", str(tokens), "--clients", "12")
        Bench(place, tmp_path / "b.json", *arguments).result()
