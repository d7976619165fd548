"""Logs: one line an event, to stderr. No token, body, user id or key is ever a field."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO, cast

import structlog


class _Stderr:
    """Whatever stderr is when a line is written: loggers outlive a stream that a test lends."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure(level: str, format_: Literal["json", "console"], worker: str | None = None) -> None:
    """Set the process' logging up, once. `level` is debug, info, warning or error. `worker` is the
    name of one of several processes, which then stands in each of its lines."""

    def name(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        if worker is not None:
            event["worker"] = worker
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
            structlog.processors.add_log_level,
            name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=True,
    )
