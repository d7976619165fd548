"""Pages of a conversation's history, as a scripted server answers with them."""

from __future__ import annotations

from homeport import Message, frames
from homeport.frames import Entry, Extra, History, HistoryPage

from tests.protocol.client.server import Peer


def entry(seq: int, sender: str = "bob", extra: Extra | None = None) -> Entry:
    """Number `seq` of a conversation, whose body is the number."""
    message = frames.Message(
        seq.to_bytes(16, "big"), sender, "x", 900 + seq, "text", str(seq).encode(), extra
    )
    return Entry(seq, message)


def answered(seq: int) -> Message:
    """A message of bob's that another answers."""
    return Message.of(entry(seq).message, "alice", seq)


async def answer(peer: Peer, *seqs: int, next: int | None = None, lost: int = 0) -> History:
    """Answer a history request with a page."""
    asked = await peer.expect(History)
    await peer.done(asked, HistoryPage(tuple(map(entry, seqs)), next, lost))
    return asked
