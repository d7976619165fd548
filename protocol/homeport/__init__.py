"""The Python SDK of Homeport (asyncio), and the wire contract that it speaks.

::

    import asyncio
    from homeport import Client, CursorFile

    async def main() -> None:
        cursor = CursorFile("laptop.cursor")
        async with Client(url, device="laptop", get_token=fetch_token, cursor=cursor) as client:
            sent = await client.send("bob", "hello")  # accepted: stored for bob
            async for message in client.messages():  # in order, each once
                print(message.sender, message.text)

    asyncio.run(main())

The client reconnects, resumes where it was, and renews its token. Events (``on_event``, or iterate
over `Client.events`) report what happens meanwhile; a program that reads none finds what it needs
to know in the log of ``homeport.client``.

The modules of this package do no I/O, except those of :mod:`homeport.client`; none of them imports
the gateway. ``SPEC.md`` is the normative text of the wire; ``frames``, ``codec``, ``codes``,
``ids`` and ``limits`` are its Python form.
"""

from homeport.client.client import Client
from homeport.client.conversation import Conversation
from homeport.client.conversations import ConversationInfo
from homeport.client.cursor import CursorFile
from homeport.client.errors import (
    Blocked,
    ClientClosed,
    ClientError,
    ConnectFailed,
    CursorFileDamaged,
    CursorFileError,
    CursorFileForeign,
    CursorNotSaved,
    NotAMember,
    ProtocolError,
    RateLimited,
    RequestRefused,
    SendTimeout,
    StorageFull,
    TokenRefused,
    TooLarge,
    Unauthorized,
    Unavailable,
    UserChanged,
    WrongRegion,
)
from homeport.client.events import (
    Connected,
    ConversationReset,
    CursorUnsaved,
    Disconnected,
    Event,
    EventsDropped,
    Lost,
    Presence,
    Receipt,
    Reset,
    RoomGap,
    Signal,
    TokenExpiring,
    Transient,
)
from homeport.client.groups import Added, Group, GroupInfo
from homeport.client.history import History
from homeport.client.message import Message, MessageRef, Sent
from homeport.client.notices import EditNotice, Notice, RecallNotice
from homeport.client.receipts import Reached, Unread
from homeport.client.rooms import Room, RoomMessage
from homeport.frames import Cursor, GroupInvitation, GroupMember, GroupNotice
from homeport.version import __version__

__all__ = [
    "__version__",
    "Client",
    "Cursor",
    "CursorFile",
    "Message",
    "MessageRef",
    "Sent",
    "Conversation",
    "ConversationInfo",
    "History",
    "Group",
    "GroupInfo",
    "GroupInvitation",
    "GroupMember",
    "GroupNotice",
    "Added",
    "EditNotice",
    "RecallNotice",
    "Notice",
    "Room",
    "RoomMessage",
    "Event",
    "EventsDropped",
    "Connected",
    "Disconnected",
    "Lost",
    "Reset",
    "ConversationReset",
    "CursorUnsaved",
    "RoomGap",
    "Signal",
    "TokenExpiring",
    "Transient",
    "Presence",
    "Receipt",
    "Reached",
    "Unread",
    "ClientError",
    "RequestRefused",
    "RateLimited",
    "Unavailable",
    "TooLarge",
    "StorageFull",
    "Unauthorized",
    "Blocked",
    "NotAMember",
    "ProtocolError",
    "SendTimeout",
    "ClientClosed",
    "WrongRegion",
    "TokenRefused",
    "UserChanged",
    "ConnectFailed",
    "CursorFileError",
    "CursorFileDamaged",
    "CursorFileForeign",
    "CursorNotSaved",
]
