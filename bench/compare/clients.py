"""Clients of the peers. Like `bench.client.Client` from outside; nothing is answered or kept.

They subscribe as part of connecting: to their room, or to a subject of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from bench.client import Totals, Who
from bench.ledger import Received, Sent
from bench.stamp import SIZE, STAMP
from bench.wire import TEXT, WebSocketClient, masked


class PeerClient(WebSocketClient):
    """What both have in common: counting."""

    def __init__(self, who: Who, total: Totals) -> None:
        super().__init__()
        self.who = who
        self.sends_to = who.sends_to
        self.received = Received()
        self.connected = False
        self.on_connected: Callable[[], None]
        self.on_refused: Callable[[str], None]
        self.waits = 0
        self._total = total
        self._numbers = 0
        self._hears = f"r:{who.room}" if who.room else who.user

    def lost(self) -> None:
        """The connection is gone."""
        self.connected = False

    def ack(self) -> None:
        """Nothing is acknowledged here."""

    def send(self, due: int) -> None:
        """Send the next message."""
        stamp = STAMP.pack(self._total.run, self.who.index, self._numbers, due)
        self._numbers += 1
        self._total.sent += 1
        self._total.accepted += 1  # nobody says otherwise
        self._say(stamp)

    def told(self) -> Sent:
        """What this client sent."""
        return Sent(self._numbers, frozenset())

    def _say(self, stamp: bytes) -> None:
        raise NotImplementedError

    def _now_connected(self) -> None:
        self.connected = True
        self.on_connected()

    def _count(self, stamp: bytes) -> None:
        run, sender, number, due = STAMP.unpack(stamp)
        total = self._total
        if run == total.run:
            self.received.take(sender, number)
            total.delivered += 1
            total.last_ns = now = time.monotonic_ns()
            if due >= total.from_ns:
                total.delivery.append(now - due)


_NATS_CONNECT: Final = (
    b'CONNECT {"verbose":false,"pedantic":false,"echo":true,"lang":"bench","version":"0"}\r\n'
)


class NatsClient(PeerClient):
    """NATS' client protocol, in WebSocket messages that may hold any piece of its stream."""

    def __init__(self, who: Who, total: Totals) -> None:
        super().__init__(who, total)
        self._stream = b""

    def on_open(self) -> None:
        """Say who we are, subscribe, and ask for a sign that it was done."""
        self._stream = b""
        subject = _subject(self._hears)
        self.write(masked(b"%bSUB %b 1\r\nPING\r\n" % (_NATS_CONNECT, subject)))

    def on_message(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of the stream."""
        stream = self._stream + data[start:end] if self._stream else data[start:end]
        at = 0
        while (line_end := stream.find(b"\r\n", at)) >= 0:
            word = stream[at : at + 4]
            if word == b"MSG ":
                size = int(stream[stream.rindex(b" ", at, line_end) + 1 : line_end])
                after = line_end + 2 + size
                if after + 2 > len(stream):
                    break
                self._count(stream[after - SIZE : after])
                at = after + 2
                continue
            if word == b"PING":
                self.write(masked(b"PONG\r\n"))
            elif word == b"PONG":
                self._now_connected()
            elif word == b"-ERR":
                self.on_refused(stream[at:line_end].decode(errors="replace"))
            at = line_end + 2
        self._stream = stream[at:]

    def _say(self, stamp: bytes) -> None:
        body = self._total.filler + stamp
        self.write(masked(b"PUB %b %d\r\n%b\r\n" % (_subject(self.sends_to), len(body), body)))


def _subject(name: str) -> bytes:
    return name.replace(":", ".").encode()


class SocketIoClient(PeerClient):
    """Socket.IO 4 (Engine.IO 4) over its WebSocket transport. The body is text."""

    def on_message(self, data: bytes, start: int, end: int) -> None:
        """Take a packet."""
        kind = data[start : start + 2]
        if kind == b"42":
            self._count(bytes.fromhex(data[end - 2 - 2 * SIZE : end - 2].decode("ascii")))
        elif kind[:1] == b"2":
            self._packet("3")
        elif kind[:1] == b"0":
            self._packet("40")
        elif kind == b"40":
            self._packet(f'420["join","{self._hears}"]')
        elif kind == b"43":
            self._now_connected()
        elif kind == b"44":
            self.on_refused(data[start:end].decode(errors="replace"))

    def _say(self, stamp: bytes) -> None:
        body = stamp.hex().rjust(len(self._total.filler) + SIZE, "f")
        self._packet(f'42["msg","{self.sends_to}","{body}"]')

    def _packet(self, text: str) -> None:
        self.write(masked(text.encode(), TEXT))
