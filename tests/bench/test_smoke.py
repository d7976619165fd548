"""Ten seconds of each scenario against a real gateway: correctness, never time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.result import Result, load

SMALL = [
    *("--clients", "10", "--members", "10", "--rooms", "2", "--rate", "100"),
    *("--duration", "2", "--warmup", "0.5", "--ramp", "100"),
]
NOTHING_WRONG = "loss=0,dup=0,reorder=0,refused=0,closes=0"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m bench``."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], capture_output=True, text=True, timeout=100
    )


def results(tmp_path: Path, *arguments: str) -> list[Result]:
    """Run scenarios that must go well."""
    file = tmp_path / "result.json"
    ran = bench(*arguments, "--json", str(file), "--slo", NOTHING_WRONG)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return load(file)


def check(result: Result) -> None:
    """Something was done, and its cost was seen."""
    assert result.operations > 0
    for nothing in ("unanswered", "told_lost", "told_reset"):
        assert result.counts[nothing] == 0, nothing
    assert result.counts["accepted"] == result.counts["sent"]
    assert any("gateway us" in name for name in result.figures)


@pytest.mark.parametrize("scenario", ["conn", "chat", "fanout", "group", "offline", "storm"])
def test_each_scenario_loses_nothing(scenario: str, tmp_path: Path) -> None:
    """G1 to G3 under load: nothing lost, doubled or reordered, nobody refused or closed."""
    (result,) = results(tmp_path, scenario, *SMALL)
    check(result)
    expected = {"chat": 250 * 2, "fanout": 250 * 10, "group": 250 * 10, "offline": 250 * 2}
    assert result.counts["delivered"] == expected.get(scenario, 0)


def test_soak_resumes_what_it_cuts_off(tmp_path: Path) -> None:
    """G2 and G3: nothing is lost or doubled on connections that break and resume."""
    (result,) = results(tmp_path, "soak", *SMALL, "--procs", "2")
    check(result)
    assert result.latency["reconnect"].count >= 4


def test_beside_a_room_only_direct_messages_are_timed(tmp_path: Path) -> None:
    """Nothing is lost on either side; the room's deliveries are counted, not timed."""
    (result,) = results(tmp_path, "beside", *SMALL)
    check(result)
    assert 0 < result.latency["delivery"].count < result.counts["accepted"]
    assert result.counts["delivered"] > result.counts["accepted"]


def test_wss_and_several_processes(tmp_path: Path) -> None:
    """The same over TLS, with a room spread over two generators."""
    (result,) = results(tmp_path, "fanout", *SMALL, "--tls", "--procs", "2")
    assert result.counts["delivered"] == 2500


def test_a_failed_slo_is_exit_code_1(tmp_path: Path) -> None:
    """What a script goes by. The table is printed all the same, and all files are written."""
    ran = bench(
        *("chat", *SMALL, "--slo", "p50<1us"),
        *("--csv", str(tmp_path / "s.csv"), "--hdr", str(tmp_path), "--html", str(tmp_path / "r")),
    )
    assert ran.returncode == 1
    assert re.search(r"SLO FAILED  p50<1us: it is \S+ us in chat", ran.stderr)
    assert "gateway us per message" in ran.stdout
    assert (tmp_path / "s.csv").read_text().startswith("label,at_s,")
    assert "Value     Percentile" in (tmp_path / "chat-delivery.hgrm").read_text()
    assert "<svg" in (tmp_path / "r").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["chat", "--slo", "p50<5"], "--slo"),
        (["chat", "--size", "10"], "--size"),
        (["chat", "--clients", "1"], "--clients"),
        (["chat", "--url", "ws://localhost:1/v1"], "--token-file"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], told: str) -> None:
    """One line that says what to change."""
    ran = bench(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert told in ran.stderr
