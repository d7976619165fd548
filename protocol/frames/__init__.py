"""The frames of protocol v1 as msgspec Structs.

A frame is a MessagePack array whose first element is its type, a small integer (the Struct's tag).
Fields follow in the order they are declared. Fields are only ever appended, with a default, so an
older peer skips what it does not know and a newer peer fills in what is missing (SPEC.md HP-4.3).

Type numbers come in blocks, so that what is to come has its place:

====== =====================================
0-15   the connection itself
16-31  messages and the inbox
32-47  groups
48-63  rooms
64-79  signals and presence
80-95  receipts
96-111 history, recall, edit
====== =====================================

Each block has a module of its own; all names are here.
"""

from __future__ import annotations

from protocol.frames.connection import (
    Connect,
    Connected,
    Error,
    Expiring,
    Goaway,
    Ok,
    Ping,
    Pong,
    Renew,
    Result,
)
from protocol.frames.messages import Ack, Lost, Message, Push, Send
from protocol.frames.receipts import Mark, Receipt, Receipts, Unread
from protocol.frames.types import NO_REQUEST, Count, Cursor, Limits, RequestId

__all__ = [
    "NO_REQUEST",
    "Ack",
    "ClientFrame",
    "Connect",
    "Connected",
    "Count",
    "Cursor",
    "Error",
    "Expiring",
    "Goaway",
    "Limits",
    "Lost",
    "Mark",
    "Message",
    "Ok",
    "Ping",
    "Pong",
    "Push",
    "Receipt",
    "Receipts",
    "Renew",
    "RequestId",
    "Result",
    "Send",
    "ServerFrame",
    "Unread",
]

# One line a block.
ClientFrame = (
    Connect | Renew | Ping | Pong
    | Send | Ack
    | Mark | Receipts | Unread
)  # fmt: skip
ServerFrame = (
    Connected | Ok | Error | Ping | Pong | Expiring | Goaway
    | Push | Lost
    | Receipt
)  # fmt: skip
