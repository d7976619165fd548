"""The log lines of sessions: with pseudonyms, and in bounded numbers.

A close by the gateway and a refusal are one line each. A connect, and an end by the client, are one
line too, but a storm of reconnects would make gigabytes of them. Therefore at most `PER_SECOND` of
these are written per second, and the log says how many were left out.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from gateway.security.pseudonyms import Pseudonyms

PER_SECOND: Final = 20
"""Connects and ends that are logged, in a process: about 5 KB a second at most."""

_log = structlog.get_logger()


class PerSecond:
    """Room for `most` of something in each second."""

    __slots__ = ("_count", "_most", "_second")

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = 0
        self._count = 0

    def takes(self, now_s: float) -> bool:
        """True where there is room for one more. `now_s` is of a steady clock."""
        if int(now_s) != self._second:
            self._second, self._count = int(now_s), 0
        self._count += 1
        return self._count <= self._most


class Lines:
    """One for each process."""

    __slots__ = ("_left_out", "_names", "_room")

    def __init__(self, names: Pseudonyms) -> None:
        self._names = names
        self._room = PerSecond(PER_SECOND)
        self._left_out = 0

    def named(self, app_id: str | None, user: str | None) -> dict[str, str]:
        """The fields that tell of whom a line is, as far as that is known."""
        if app_id is None:
            return {}
        fields = {"app": self._names.app(app_id)}
        if user is not None:
            fields["user"] = self._names.user(app_id, user)
        return fields

    def often(self, now_s: float, event: str, **fields: Any) -> None:
        """Write what may come in any number. `now_s` is of a steady clock."""
        if not self._room.takes(now_s):
            self._left_out += 1
            return
        if self._left_out:
            _log.info("sessions_not_logged", lines=self._left_out)
            self._left_out = 0
        _log.info(event, **fields)
