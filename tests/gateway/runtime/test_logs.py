"""What the log shows, and what it never shows. In a process of its own, as it is set up once."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping

import pytest
import structlog

from gateway.runtime.logs import BURST, PER_SECOND, Thinning
from tests.harness import FakeClock

FAULTY = """
import sys
import structlog
from gateway.runtime import logs

logs.configure(sys.argv[1], sys.argv[2])
log = structlog.get_logger()

def fault(token):
    body = token[::-1]
    raise ValueError("what happened")

log.debug("quiet")
log.info("said", session="abc")
try:
    fault("".join(["sec", "ret"]))
except ValueError as error:
    log.error("fault", exc_info=error)
"""


def run(level: str, format_: str) -> str:
    """What such a process writes to stderr."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTY, level, format_], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_traceback_shows_where_and_no_values(format_: str) -> None:
    """G7 and G8: variables hold tokens and bodies, so a traceback must not show them."""
    log = run("info", format_)
    assert "what happened" in log
    assert "fault" in log
    assert "secret" not in log
    assert "terces" not in log


def test_json_is_one_object_a_line() -> None:
    """For a machine: event, level and time are always there."""
    said, fault = (json.loads(line) for line in run("info", "json").splitlines())
    assert (said["event"], said["level"], said["session"]) == ("said", "info", "abc")
    assert said["timestamp"].endswith("Z")
    assert fault["exception"][0]["exc_type"] == "ValueError"


@pytest.mark.parametrize(
    ("level", "events"),
    [("debug", ["quiet", "said", "fault"]), ("info", ["said", "fault"]), ("error", ["fault"])],
)
def test_the_level_is_held_to(level: str, events: list[str]) -> None:
    """Nothing below it is written."""
    lines = run(level, "json").splitlines()
    assert [json.loads(line)["event"] for line in lines] == events


CHANGING = """
import structlog
from gateway.runtime import logs

logs.configure("info", "json")
log = structlog.get_logger()
for level in ("info", "error", "debug"):
    logs.set_level(level)
    log.debug(level + " debug")
    log.info(level + " info")
    log.error(level + " error")
"""


def test_the_level_may_change_under_loggers_that_are_in_use() -> None:
    """A reload: structlog keeps a logger as it was when it was first used."""
    done = subprocess.run(
        [sys.executable, "-c", CHANGING], capture_output=True, text=True, check=True
    )
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == [
        "info info",
        "info error",
        "error error",
        "debug debug",
        "debug info",
        "debug error",
    ]


def test_the_console_is_plain_where_it_is_no_terminal() -> None:
    """No colours in a file."""
    assert "\x1b[" not in run("info", "console")


def test_a_line_leaves_in_one_write() -> None:
    """Workers share a stderr. Where Python does not buffer it, as an image asks, a line and its end
    left one after the other, and another worker's line came between."""
    script = """
import os, sys
from gateway.runtime import logs
logs.configure("info", "json")
import structlog
reading, writing = os.pipe2(os.O_DIRECT)  # each write is a packet of its own (pipe(2))
os.dup2(writing, 2)
structlog.get_logger().info("said")
sys.stdout.buffer.write(os.read(reading, 65536))
"""
    done = subprocess.run(
        [sys.executable, "-u", "-c", script], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["event"] == "said"
    assert done.stdout.endswith("}\n")


LIBRARY = """
import logging
from gateway.runtime import logs

logs.configure("info", "json")
logging.getLogger("some.library").warning("lost %s", "a secret")
logging.getLogger("some.library").info("quiet")
try:
    raise ValueError("a secret")
except ValueError:
    logging.getLogger("asyncio").exception("it failed")
logging.getLogger("aiofastnet").warning("write() called after connection lost.")
"""


def test_what_libraries_say_is_json_too() -> None:
    """Bare lines stood between those of JSON, 151 of them after some clients had left; and what a
    library puts into its text may be anything, so it is left out."""
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY], capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(e["event"], e["level"], e["library"], e["said"], e["error"]) for e in lines] == [
        ("library", "warning", "some.library", "lost %s", None),
        ("library", "error", "asyncio", "it failed", "ValueError"),
    ]
    assert "a secret" not in done.stderr


def written(processor: Thinning, *fields: Mapping[str, object]) -> list[dict[str, object]]:
    """The lines that are left of those with these fields."""
    left = []
    for each in fields:
        with contextlib.suppress(structlog.DropEvent):
            left.append(dict(processor(None, "info", dict(each))))
    return left


def test_a_flood_of_one_event_is_a_bounded_number_of_lines(clock: FakeClock) -> None:
    """G9: three clients that sent nonsense made 9 MB of log per second. The next line says how many
    were left out."""
    thinning = Thinning(clock.clock().steady)
    refused = {"event": "refused", "code": "bad_frame", "app": "a"}
    assert len(written(thinning, *[refused] * 10_000)) == BURST
    clock.advance(1.001)
    after = written(thinning, *[refused] * 10_000)
    assert len(after) == PER_SECOND
    assert [line.get("left_out") for line in after[:2]] == [10_000 - BURST, None]


def test_a_flood_hides_neither_another_app_nor_another_event(clock: FakeClock) -> None:
    """Who looks for one user's trouble finds it while somebody else's app is misused."""
    thinning = Thinning(clock.clock().steady)
    written(thinning, *[{"event": "refused", "app": "a"}] * 1000)
    assert written(thinning, {"event": "refused", "app": "b"}, {"event": "closed", "app": "a"}) == [
        {"event": "refused", "app": "b", "left_out": 1000 - BURST},
        {"event": "closed", "app": "a"},
    ]


def test_what_is_set_up_thins_the_lines_out() -> None:
    """G9, in a process as `homeport serve` sets it up."""
    script = """
import structlog
from gateway.runtime import logs

logs.configure("info", "json")
for _ in range(1000):
    structlog.get_logger().info("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert BURST <= len(done.stderr.splitlines()) < 1000 / 2
