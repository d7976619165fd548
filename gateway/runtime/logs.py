"""Logs: one line an event, to stderr. No token, body, user id or key is ever a field."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal, TextIO, cast

import structlog

from gateway.bucket import RecentBuckets

PER_SECOND: Final = 5
BURST: Final = 20
"""Lines of one event and app that a process writes: about a KB per second. Whoever connects, asks
or sends nonsense without end makes no more of them than that; the metrics count every one."""

MAX_APPS: Final = 1_000
"""Events of apps whose lines are counted, each by itself: no app's hide those of another."""


class _Stderr:
    """Whatever stderr is when a line is written: loggers outlive a stream that a test lends."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Threshold:
    """Drops what is below the level. A processor, and not structlog's filtering loggers, because
    those are cached where they are used and keep the level that they were made with."""

    number = logging.INFO

    def __call__(
        self, _logger: object, method: str, event: structlog.types.EventDict
    ) -> structlog.types.EventDict:
        if _NUMBERS[method] < self.number:
            raise structlog.DropEvent
        return event


_NUMBERS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
threshold = _Threshold()
"""Its `number` is the level below which nothing is written."""


class Thinning:
    """A processor that leaves out lines past `BURST` and `PER_SECOND` of an event and app; the next
    one that is written says in `left_out` how many lines of its event were. `steady` is in seconds.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._room: RecentBuckets[tuple[str, object]] = RecentBuckets(PER_SECOND, BURST, MAX_APPS)
        self._left_out: Counter[str] = Counter()

    def __call__(
        self, _logger: object, _method: str, event: structlog.types.EventDict
    ) -> structlog.types.EventDict:
        name = event["event"]
        if self._room.take((name, event.get("app")), self._steady()):
            self._left_out[name] += 1
            raise structlog.DropEvent
        if left_out := self._left_out.pop(name, 0):
            event["left_out"] = left_out
        return event


class _Libraries(logging.Handler):
    """What libraries log by Python's own logging, as lines like ours: by itself it would write them
    to stderr as they are, between lines of JSON. Without the values in it, which may be anything.
    """

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        kind = record.exc_info[0] if record.exc_info else None
        say = getattr(structlog.get_logger(), level if level in _NUMBERS else "warning")
        say(
            "library",
            library=record.name,
            said=str(record.msg)[:200],
            error=None if kind is None else kind.__name__,
        )


def set_level(level: str) -> None:
    """From now on, write what is `level` (debug, info, warning, error) or above."""
    threshold.number = _NUMBERS[level]


_places: dict[str, str] = {}


def name_gateway(gateway: str) -> None:
    """From now on each line says `gateway`: the end of its sessions' ids, which `homeport user
    show` tells."""
    _places["gateway"] = gateway


def configure(level: str, format_: Literal["json", "console"], worker: str | None = None) -> None:
    """Set the process' logging up, once. `level` is as in `set_level`. `worker` is the name of one
    of several processes, which then stands in each of its lines."""
    set_level(level)
    libraries = logging.getLogger()
    if not any(isinstance(handler, _Libraries) for handler in libraries.handlers):
        libraries.addHandler(_Libraries())
    # A client that left while it was written to; each of our transports counts that by itself.
    logging.getLogger("aiofastnet").setLevel(logging.ERROR)

    def name(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        if worker is not None:
            event["worker"] = worker
        event.update(_places)
        return event

    # A traceback of our own fault is wanted; the values of its variables, which both renderers
    # would show if left alone, are not.
    traceback = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    renderers: list[structlog.types.Processor] = (
        [traceback, structlog.processors.JSONRenderer()]
        if format_ == "json"
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    structlog.configure(
        processors=[
            threshold,
            Thinning(),
            structlog.processors.add_log_level,
            name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        # A line and its end in one write: workers share a stderr, which may be unbuffered.
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stderr())),
    )
