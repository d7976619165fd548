"""The Python SDK of Homeport (asyncio).

::

    import asyncio
    from protocol.client import Client, CursorFile

    async def main() -> None:
        cursor = CursorFile("laptop.cursor")
        async with Client(url, device="laptop", get_token=fetch_token, cursor=cursor) as client:
            sent = await client.send("bob", "hello")  # accepted: stored for bob
            async for message in client.messages():  # in order, each once
                print(message.seq, message.sender, message.text)

    asyncio.run(main())

The client reconnects, resumes where it was, and renews its token. ``on_event`` is called with each
event; a program without it finds what it needs to know in the log of ``homeport.client``.
"""

from protocol.client.client import Client
from protocol.client.cursor import CursorFile
from protocol.client.errors import (
    ClientClosed,
    ClientError,
    ConnectFailed,
    CursorFileDamaged,
    CursorFileError,
    CursorFileForeign,
    CursorNotSaved,
    ProtocolError,
    RequestRefused,
    SendTimeout,
    TokenRefused,
    UserChanged,
    WrongRegion,
)
from protocol.client.events import (
    Connected,
    CursorUnsaved,
    Disconnected,
    Event,
    Lost,
    Presence,
    Receipt,
    Reset,
    RoomGap,
    Signal,
    TokenExpiring,
    Transient,
)
from protocol.client.groups import Group, group_notice
from protocol.client.message import Message, Sent
from protocol.client.recalls import edit_notice, recall_notice
from protocol.client.receipts import Reached, Unread
from protocol.client.rooms import Room, RoomMessage
from protocol.frames import (
    Cursor,
    EditNotice,
    GroupMember,
    GroupNotice,
    Place,
    RecallNotice,
)

__all__ = [
    "Client",
    "Cursor",
    "CursorFile",
    "Message",
    "Place",
    "Sent",
    "Group",
    "GroupMember",
    "GroupNotice",
    "group_notice",
    "EditNotice",
    "RecallNotice",
    "edit_notice",
    "recall_notice",
    "Room",
    "RoomMessage",
    "Event",
    "Connected",
    "Disconnected",
    "Lost",
    "Reset",
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
