"""The entries of an inbox or a log, as Redis tells them, and what becomes one."""

from __future__ import annotations

from typing import Any, NamedTuple


class NewMessage(NamedTuple):
    """A message for the store. `record` is sealed, and `time_ms` is when it was accepted.

    `conversation` is the one in which it counts as unread for all but `sender`, and whose history
    may keep it; "": none. `expires_ms` is as in `Entry`.
    """

    id: bytes
    record: bytes
    time_ms: int
    conversation: str = ""
    sender: str = ""
    expires_ms: int | None = None


class Entry(NamedTuple):
    """One message of an inbox or a log. `record` is sealed.

    `expires_ms` is when the message's own time to live ends; None: when the tier's does.
    """

    seq: int
    ms: int
    record: bytes
    expires_ms: int | None = None

    def expired(self, now_ms: int) -> bool:
        """True from the millisecond on in which its own time to live is over."""
        return self.expires_ms is not None and self.expires_ms <= now_ms


def parse_entries(raw: list[Any]) -> list[Entry]:
    """Entries of a stream as Redis tells them: ``[id, [m, record]]``; then ``x`` and a time, where
    there is one.
    """
    entries = []
    for entry_id, fields in raw:
        ms, _, seq = entry_id.partition(b"-")
        expires = int(fields[3]) if len(fields) > 2 and fields[2] == b"x" else None
        entries.append(Entry(int(seq), int(ms), fields[1], expires))
    return entries
