"""What commands print: text for people, or one JSON object a line for scripts."""

from __future__ import annotations

import time
from collections.abc import Container, Mapping
from datetime import UTC, datetime

import msgspec
import typer


def show(
    record: Mapping[str, object], as_json: bool, *, verbatim: Container[str] = frozenset()
) -> None:
    """Print `record` as one JSON object, or as aligned lines of name and value.

    People see a space for each underscore, but in the names in `verbatim`, which they can type.
    """
    if as_json:
        typer.echo(msgspec.json.encode(record))
        return
    width = max(map(len, record))
    for name, value in record.items():
        shown = name if name in verbatim else name.replace("_", " ")
        typer.echo(f"{shown:<{width}}  {_text(value)}")


def _text(value: object) -> str:
    """As a person writes it, and not as Python does."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(each)}" for key, each in value.items()) or "none"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(_text, value)) or "none"
    return str(value)


def utc(seconds: float) -> str:
    """Seconds since 1970 as ``2026-01-02T03:04:05Z`` (RFC 3339)."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_ms() -> int:
    """The wall clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
