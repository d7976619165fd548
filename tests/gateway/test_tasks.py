"""No task that a process needs ends unseen, and no task is made past the rules of that."""

from __future__ import annotations

import ast
import asyncio
from collections import Counter
from pathlib import Path

import pytest
from structlog.testing import capture_logs

import gateway
from gateway.tasks import TaskEnded, Tasks

SOURCES = Path(gateway.__file__).parent

MAKERS = frozenset({"create_task", "ensure_future", "TaskGroup", "run_coroutine_threadsafe"})
"""What makes a task of asyncio."""

WAITED_FOR = {
    # Made here, for everybody else.
    "tasks.py keep": 1,
    "tasks.py spawn": 1,
    # Whoever makes these waits for them, in the same function, and gets what they raise.
    "cli/dev.py _run": 1,
    "ops/process.py _run": 2,
    "runtime/drain.py run": 2,
    "runtime/serving.py serve": 3,
    "redis/connection.py _until_over": 2,
    # Everything that it can raise goes to those that wait for the app, each by its own request.
    "store/directory.py _load": 1,
    # All who ask for the app at this moment wait for it, and get what it raises.
    "api/auth.py _app": 1,
    # Waited for here, and by the clock.
    "store/region.py now_ms": 1,
    # Each attempt: whoever sends to the endpoint waits for it, and gets what it raises.
    "hooks/endpoint.py _some": 1,
    # What it raises goes to the sender that waits for the answer.
    "chat/repeats.py refuse_unless_sent": 1,
    # These catch whatever they raise, log it, and have it done again.
    "hub/presence.py _queue": 1,
    # Its end is looked at: what it raised is logged, and the connection's place is given free.
    "net/acceptor.py _take": 1,
}
"""Where a task is made that is neither kept nor spawned, how often, and why it is seen."""


def makers() -> Counter[str]:
    """Each place of the gateway's sources that makes tasks: file and function."""
    found: Counter[str] = Counter()
    for path in SOURCES.rglob("*.py"):
        functions = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for function in functions:
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and node.attr in MAKERS:
                    found[f"{path.relative_to(SOURCES)} {function.name}"] += 1
    return found


def test_every_task_is_kept_spawned_or_waited_for() -> None:
    """G10: one that nobody sees end is a gateway that stands there and serves nobody. Whoever adds
    a task says here why it is seen, or gives it to `Tasks`."""
    assert makers() == WAITED_FOR


async def test_a_needed_task_that_fails_is_said_and_ends_the_process() -> None:
    """Name, kind and traceback are in the log; the process learns of it at once."""
    told: list[str] = []
    tasks = Tasks(told.append)

    async def work() -> None:
        raise RuntimeError("planted")

    with capture_logs() as logs:
        tasks.keep(work(), "wheel")
        with pytest.raises(TaskEnded, match=r"the task wheel, .* RuntimeError") as caught:
            await tasks.failed()
    (entry,) = logs
    assert (entry["event"], entry["task"], entry["log_level"]) == (
        "needed_task_ended",
        "wheel",
        "error",
    )
    assert isinstance(entry["exc_info"], RuntimeError)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert (tasks.lost, told) == ("wheel", [str(caught.value)])
    assert "planted" not in told[0]


@pytest.mark.parametrize("how", ["it returned", "it was cancelled"])
async def test_one_that_just_ends_is_no_better(how: str) -> None:
    """Also a library's own cancellation, which asyncio says nothing about."""
    tasks = Tasks()

    async def work() -> None:
        if how == "it was cancelled":
            raise asyncio.CancelledError

    tasks.keep(work(), "redis-link")
    with pytest.raises(TaskEnded) as caught:
        await tasks.failed()
    assert (caught.value.name, caught.value.how) == ("redis-link", how)


async def test_who_is_not_needed_any_more_may_end() -> None:
    """A drain is no fault; but what such a task raises is in the log."""
    tasks = Tasks()

    async def clumsy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("on the way out")

    async def calm() -> None:
        await asyncio.Event().wait()

    kept = [tasks.keep(clumsy(), "clumsy"), tasks.keep(calm(), "calm")]
    await asyncio.sleep(0)
    with capture_logs() as logs:
        for task in kept:
            tasks.dismiss(task)
        await asyncio.gather(*kept, return_exceptions=True)
        await asyncio.sleep(0)
    assert [(log["event"], log["task"]) for log in logs] == [("task_failed", "clumsy")]
    assert tasks.lost == ""


async def test_one_that_may_end_may_not_fail() -> None:
    """Work that is needed, and is done at some time."""
    tasks = Tasks()

    async def done() -> None:
        pass

    async def fails() -> None:
        raise ZeroDivisionError

    await tasks.keep(done(), "join", may_end=True)
    await asyncio.sleep(0)
    assert tasks.lost == ""
    tasks.keep(fails(), "join", may_end=True)
    with pytest.raises(TaskEnded, match="join"):
        await tasks.failed()


async def test_what_is_spawned_is_logged_and_undone() -> None:
    """A session's own fault is its own: the process stays."""
    tasks = Tasks()
    undone: list[str] = []

    async def fails() -> None:
        raise ZeroDivisionError

    with capture_logs() as logs:
        task = tasks.spawn(fails(), lambda: undone.append("closed"))
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
    assert [log["event"] for log in logs] == ["task_failed"]
    assert (undone, tasks.lost) == (["closed"], "")
    waiting = tasks.spawn(asyncio.Event().wait(), lambda: None)  # type: ignore[arg-type]
    await tasks.end_spawned()
    assert waiting.cancelled()
