"""Events for an app's webhooks: sealed where they are made, and what a receiver gets of them.

What it gets is JSON as Standard Webhooks 1.0.0 says ("Payload structure"): ``type``, ``timestamp``
and ``data``. In ``data``, ``seq`` is the number in the endpoint's log, of its numbering ``epoch``;
and what the event is about stands under the first word of its type.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from gateway.apps.app import App
from gateway.apps.webhooks import MESSAGE_OFFLINE, Webhook
from gateway.security.sealing import Kind, Sealer
from gateway.store.hook_log import Attempt, Record

MAX_ATTEMPTS: Final = 12
"""Attempts that are kept of each event, the latest."""


class Event(msgspec.Struct, array_like=True, frozen=True):
    """Something that happened: its `type`, and ids of what it is `about`.

    `private` is what users wrote of it, for endpoints that are told that.
    """

    type: str
    about: dict[str, Any]
    private: dict[str, Any] = {}


class HookEvents:
    """Seals events, and makes of them what receivers get."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(self, app: App, event: Event, now_ms: int) -> bytes:
        """An event as it waits in a bucket, and lies in a log."""
        return self._sealer.seal(app, Kind.EVENT, "", b"", msgspec.msgpack.encode(event), now_ms)

    def open(self, app: App, record: Record) -> Event:
        """The event of a record.

        Raises:
            Tampered: changed, or another app's. UnknownKeyVersion: this gateway lacks the key.
        """
        return self.open_sealed(app, record.noted.sealed, absent=record.noted.absent)

    def open_sealed(self, app: App, sealed: bytes, *, absent: bool) -> Event:
        """The event that `seal` sealed; what it says of those who were `absent` is one of its own.

        Raises:
            Tampered, UnknownKeyVersion: as `open`.
        """
        plain = self._sealer.open(app, Kind.EVENT, "", b"", sealed)
        event = msgspec.msgpack.decode(plain, type=Event)
        return msgspec.structs.replace(event, type=MESSAGE_OFFLINE) if absent else event

    def body(self, app: App, webhook: Webhook, record: Record) -> dict[str, Any]:
        """What an endpoint gets of a record.

        Raises:
            Tampered, UnknownKeyVersion: as `open`.
        """
        event, noted = self.open(app, record), record.noted
        about = dict(event.about)
        if noted.seq:
            about["seq"] = noted.seq
        if noted.users:
            about["users"] = noted.users
        if event.private and app.bodies_to(webhook):
            about |= event.private
        time = datetime.fromtimestamp(noted.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return {
            "type": event.type,
            "timestamp": time.replace("+00:00", "Z"),
            "data": {
                "seq": record.number,
                "epoch": record.epoch,
                event.type.partition(".")[0]: about,
            },
        }

    def seal_attempts(
        self, app: App, webhook: Webhook, number: int, attempts: Sequence[Attempt], now_ms: int
    ) -> bytes:
        """The attempts to send event `number`, as the log has them: the latest `MAX_ATTEMPTS`."""
        plain = msgspec.msgpack.encode(list(attempts)[-MAX_ATTEMPTS:])
        place, id = webhook.id, str(number).encode()
        return self._sealer.seal(app, Kind.ATTEMPTS, place, id, plain, now_ms)

    def attempts(self, app: App, webhook: Webhook, record: Record) -> list[Attempt]:
        """The attempts to send the event of a record, the earliest first.

        Raises:
            Tampered, UnknownKeyVersion: as `open`.
        """
        if not record.attempts:
            return []
        id = str(record.number).encode()
        plain = self._sealer.open(app, Kind.ATTEMPTS, webhook.id, id, record.attempts)
        return msgspec.msgpack.decode(plain, type=list[Attempt])


def webhook_id_of(webhook: Webhook, record: Record) -> str:
    """The header ``webhook-id``: the same whenever this event is sent to this endpoint."""
    return f"{webhook.id}_{record.epoch}_{record.number}"


def encode(body: dict[str, Any]) -> bytes:
    """The bytes that are signed and sent."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
