"""What is sent down to a wire: the bytes of protocol frames, without what a wire puts around them.

A wire frames each payload: a WebSocket puts a header before it. How is the wire's own knowledge, a
function that is its `Framer`; a payload remembers what each framer made of it. So a payload that
goes to ten thousand sessions is framed once for each kind of wire among them.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

Framer = Callable[[bytes], bytes]
"""Makes a payload's bytes into what a wire carries. One function for each kind of wire, at module
level: what it made is remembered by its identity."""


class Payload(Struct, gc=False):
    """One protocol frame, `data` as MessagePack."""

    data: bytes
    _framed: dict[Framer, bytes] = {}

    def framed(self, framer: Framer) -> bytes:
        """What `framer` makes of it; made once."""
        framed = self._framed.get(framer)
        if framed is None:
            framed = self._framed[framer] = framer(self.data)
        return framed

    @property
    def parts(self) -> tuple[bytes, ...]:
        """The `data` of each payload in it: its own."""
        return (self.data,)


class Bundle(Struct, gc=False):
    """Payloads that leave together, in their order."""

    payloads: list[Payload]
    _framed: dict[Framer, bytes] = {}

    def framed(self, framer: Framer) -> bytes:
        """What `framer` makes of all of them, joined; made once."""
        framed = self._framed.get(framer)
        if framed is None:
            framed = b"".join([each.framed(framer) for each in self.payloads])
            self._framed[framer] = framed
        return framed

    @property
    def parts(self) -> tuple[bytes, ...]:
        """The `data` of each payload in it."""
        return tuple(payload.data for payload in self.payloads)
