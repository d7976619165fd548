"""The frames of protocol v1 as msgspec Structs.

A frame is a MessagePack array whose first element is its type, a small integer (the Struct's tag).
Fields follow in the order they are declared. Fields are only ever appended, with a default, so an
older peer skips what it does not know and a newer peer fills in what is missing (SPEC.md HP-4.3).

Type numbers come in blocks, so that what is to come has its place:

======= ====================================
0-15    the connection itself
16-31   messages and the inbox
32-47   groups
48-63   rooms
64-79   signals and presence
80-95   receipts
96-111  history, recall, edit
112-119 blocking and devices
======= ====================================

Each block has a module of its own; all names are here.
"""

from __future__ import annotations

from protocol.frames.blocking import Block, Blocks, Unblock
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
from protocol.frames.groups import (
    GroupAdd,
    GroupCreate,
    GroupDelete,
    GroupGet,
    GroupInfo,
    GroupLeave,
    GroupList,
    GroupMember,
    GroupMute,
    GroupNotice,
    GroupRemove,
    GroupRename,
    GroupRole,
)
from protocol.frames.history import Entry, Forget, History, Place, Transient
from protocol.frames.messages import Ack, Extra, Lost, Message, Options, Push, Send
from protocol.frames.presence import (
    Presence,
    PresenceGet,
    PresenceSet,
    PresenceSubscribe,
    PresenceUnsubscribe,
    UserPresence,
)
from protocol.frames.recalls import Edit, EditNotice, Recall, RecallNotice
from protocol.frames.receipts import Counts, Mark, Reach, Receipt, Receipts, Unread
from protocol.frames.rooms import (
    Priority,
    RoomJoin,
    RoomLeave,
    RoomPush,
    RoomSend,
    RoomSet,
    RoomState,
)
from protocol.frames.signals import Signal, Signaled
from protocol.frames.types import NO_REQUEST, Count, Cursor, Limits, RequestId

__all__ = [
    "NO_REQUEST",
    "Ack",
    "Block",
    "Blocks",
    "ClientFrame",
    "Connect",
    "Connected",
    "Count",
    "Counts",
    "Cursor",
    "Edit",
    "EditNotice",
    "Entry",
    "Error",
    "Expiring",
    "Extra",
    "Forget",
    "Goaway",
    "GroupAdd",
    "GroupCreate",
    "GroupDelete",
    "GroupGet",
    "GroupInfo",
    "GroupLeave",
    "GroupList",
    "GroupMember",
    "GroupMute",
    "GroupNotice",
    "GroupRemove",
    "GroupRename",
    "GroupRole",
    "History",
    "Limits",
    "Lost",
    "Mark",
    "Message",
    "Ok",
    "Options",
    "Ping",
    "Place",
    "Pong",
    "Presence",
    "PresenceGet",
    "PresenceSet",
    "PresenceSubscribe",
    "PresenceUnsubscribe",
    "Priority",
    "Push",
    "Recall",
    "RecallNotice",
    "Reach",
    "Receipt",
    "Receipts",
    "Renew",
    "RequestId",
    "Result",
    "RoomJoin",
    "RoomLeave",
    "RoomPush",
    "RoomSend",
    "RoomSet",
    "RoomState",
    "Send",
    "ServerFrame",
    "Unblock",
    "Signal",
    "Signaled",
    "Transient",
    "UserPresence",
    "Unread",
]

# One line a block, as far as it fits.
ClientFrame = (
    Connect | Renew | Ping | Pong
    | Send | Ack
    | GroupCreate | GroupRename | GroupDelete | GroupAdd | GroupRemove | GroupLeave | GroupRole
    | GroupMute | GroupGet | GroupList
    | Block | Unblock | Blocks
    | RoomJoin | RoomLeave | RoomSet | RoomSend
    | Signal
    | History | Forget | Recall | Edit
    | PresenceSet | PresenceSubscribe | PresenceUnsubscribe | PresenceGet
    | Mark | Receipts | Unread
)  # fmt: skip
ServerFrame = (
    Connected | Ok | Error | Ping | Pong | Expiring | Goaway
    | Push | Lost
    | RoomPush | RoomState
    | Signaled
    | Presence
    | Transient
    | Receipt
)  # fmt: skip
