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
96-111  history, recall, edit, conversations
112-119 blocking and devices
======= ====================================

Each block has a module of its own; all names are here.
"""

from __future__ import annotations

from typing import Any, Final, get_args

from homeport.frames.blocking import Block, BlockList, Blocks, Unblock
from homeport.frames.connection import (
    Connect,
    Connected,
    Error,
    Expiring,
    Goaway,
    Ok,
    Ping,
    Pong,
    Renew,
    Renewed,
)
from homeport.frames.conversations import ConversationPage, ConversationRow, Conversations
from homeport.frames.groups import (
    GroupAdd,
    GroupAdded,
    GroupCreate,
    GroupCreated,
    GroupDelete,
    GroupGet,
    GroupInvitation,
    GroupJoin,
    GroupLeave,
    GroupList,
    GroupMember,
    GroupMute,
    GroupNotice,
    GroupPage,
    GroupRemove,
    GroupRename,
    GroupRole,
    GroupView,
)
from homeport.frames.history import Entry, Forget, History, HistoryPage, Transient
from homeport.frames.messages import Accepted, Ack, Extra, Lost, Message, Options, Push, Reset, Send
from homeport.frames.presence import (
    Presence,
    PresenceGet,
    PresenceList,
    PresenceSet,
    PresenceSubscribe,
    PresenceUnsubscribe,
    UserPresence,
)
from homeport.frames.recalls import Edit, EditNotice, Recall, RecallNotice
from homeport.frames.receipts import Mark, Reach, Receipt, Receipts, Unread, UnreadCounts
from homeport.frames.rooms import (
    Priority,
    RoomJoin,
    RoomJoined,
    RoomLeave,
    RoomPush,
    RoomSend,
    RoomSet,
    RoomState,
)
from homeport.frames.signals import Signal, Signaled
from homeport.frames.types import (
    NO_REQUEST,
    Answer,
    Count,
    Cursor,
    Limits,
    Request,
    RequestId,
    Seq,
)

__all__ = [
    "ANSWERS",
    "NO_REQUEST",
    "Accepted",
    "Ack",
    "Answer",
    "Block",
    "BlockList",
    "Blocks",
    "ClientFrame",
    "Connect",
    "Connected",
    "ConversationPage",
    "ConversationRow",
    "Conversations",
    "Count",
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
    "GroupAdded",
    "GroupCreate",
    "GroupCreated",
    "GroupDelete",
    "GroupGet",
    "GroupInvitation",
    "GroupJoin",
    "GroupView",
    "GroupLeave",
    "GroupList",
    "GroupMember",
    "GroupMute",
    "GroupNotice",
    "GroupPage",
    "GroupRemove",
    "GroupRename",
    "GroupRole",
    "History",
    "HistoryPage",
    "Limits",
    "Lost",
    "Mark",
    "Message",
    "Ok",
    "Options",
    "Ping",
    "Pong",
    "Presence",
    "PresenceGet",
    "PresenceList",
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
    "Renewed",
    "Request",
    "RequestId",
    "Reset",
    "RoomJoin",
    "RoomJoined",
    "RoomLeave",
    "RoomPush",
    "RoomSend",
    "RoomSet",
    "RoomState",
    "Send",
    "Seq",
    "ServerFrame",
    "Unblock",
    "Signal",
    "Signaled",
    "Transient",
    "UserPresence",
    "Unread",
    "UnreadCounts",
]

# One line a block, as far as it fits.
ClientFrame = (
    Connect | Renew | Ping | Pong
    | Send | Ack
    | GroupCreate | GroupRename | GroupDelete | GroupAdd | GroupRemove | GroupLeave | GroupRole
    | GroupMute | GroupGet | GroupList | GroupJoin
    | Block | Unblock | Blocks
    | RoomJoin | RoomLeave | RoomSet | RoomSend
    | Signal
    | History | Forget | Recall | Edit | Conversations
    | PresenceSet | PresenceSubscribe | PresenceUnsubscribe | PresenceGet
    | Mark | Receipts | Unread
)  # fmt: skip
ServerFrame = (
    Connected | Ok | Error | Ping | Pong | Expiring | Goaway
    | Push | Lost | Reset
    | RoomPush | RoomState
    | Signaled
    | Presence
    | Transient
    | Receipt
)  # fmt: skip

ANSWERS: Final[dict[type[Request[Any]], Any]] = {
    request: get_args(request.__orig_bases__[0])[0]
    for request in get_args(ClientFrame)
    if issubclass(request, Request)
}
"""What each request is answered with, as its class says; ``NoneType`` where `Ok` says it all."""
