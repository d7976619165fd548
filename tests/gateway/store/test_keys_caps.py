"""Every list that a client can make longer has an end, and SPEC.md says where: section 9.1.

The walks go by the frames, by the names of keys and by the table, so what is new in one of them is
missing here until somebody has thought about it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest
from homeport import limits, token007
from homeport.frames import ClientFrame

from gateway.apps.tiers import TIERS
from gateway.chat.limits import CONNECT_BURST, CONNECT_RATE
from gateway.store.inbox import EPOCH_CHARS, MAX_DEVICES
from gateway.store.keys import Keys

SPEC: Final = Path(__file__).parents[3] / "protocol" / "SPEC.md"


def by_tier(field: str, unit: int = 1, word: str = "") -> str:
    """The limits of the tiers as the table has them."""
    said = [f"{name} {getattr(tier, field) // unit:,}" for name, tier in TIERS.items()]
    return ", ".join([said[0] + word, *said[1:]])


def in_bytes(size: int) -> str:
    """A size as the table has it."""
    unit = next(bits for bits in (40, 30, 20) if not size % (1 << bits))
    return f"{size >> unit} {({40: 'TiB', 30: 'GiB', 20: 'MiB'})[unit]}"


CAPS: Final = {
    "message before connected": f"{limits.MAX_CONNECT_BYTES:,} bytes",
    "message after connected": f"{limits.MAX_FRAME_BYTES:,} bytes",
    "token": f"{limits.MAX_TOKEN_CHARS:,} characters; of the form 007, "
    f"{token007.MAX_BYTES:,} bytes inflated",
    "body": f"`limits.max_body`: {by_tier('max_body', 1024, ' KiB')}",
    "time to a complete connect": f"{limits.CONNECT_TIMEOUT_S:.0f} s",
    "messages in an inbox": by_tier("inbox_cap"),
    "devices of a user whose cursors are kept": f"{MAX_DEVICES}",
    "bytes that an app has stored; one of its users as a sender": ", ".join(
        f"{name} {in_bytes(tier.app_bytes)}; {in_bytes(tier.sender_bytes)}"
        for name, tier in TIERS.items()
    ),
    "connections of an app": by_tier("connections"),
    "connects of a user to one replica": f"{CONNECT_BURST} at once, {CONNECT_RATE} per second",
    "unanswered pushes (`limits.window`)": f"{limits.WINDOW}",
    "dedupe window (`limits.dedupe_ms`)": f"{limits.DEDUPE_WINDOW_MS:,} ms",
    "user id, device id, client message id": f"{limits.MAX_ID_CHARS} characters",
    "`to`, `client`": "128 characters",
    "`kind`": f"{limits.MAX_KIND_CHARS} characters",
    "name of a group": f"{limits.MAX_GROUP_NAME_CHARS} characters",
    "users in one request about a group": f"{limits.MAX_GROUP_CHANGE}",
    "invitations of a group, with those that were declined": f"{limits.MAX_INVITATIONS}",
    "time of an invitation": f"{limits.INVITATION_S:,} s",
    "users whose leaving a group remembers": f"{limits.MAX_LEAVERS:,}",
    "members of a group": by_tier("group_members"),
    "`platform`": f"{limits.MAX_PLATFORM_CHARS} characters",
    "users that one user blocks": f"{limits.MAX_BLOCKS:,}",
    "users who block one user": f"{limits.MAX_BLOCKERS:,}",
    "groups that one user created": by_tier("own_groups"),
    "rooms that one user created": by_tier("own_rooms"),
    "last messages of a room": f"{limits.MAX_LAST}",
    "rooms of a session": f"{limits.MAX_ROOMS}",
    "admins of a room": f"{limits.MAX_ROOM_ADMINS}",
    "body of a signal": f"{limits.MAX_SIGNAL_BYTES:,} bytes",
    "signals of a session": f"{limits.SIGNAL_BURST} at once, {limits.SIGNAL_RATE} per second",
    "members of a group that takes signals": f"{limits.MAX_SIGNAL_MEMBERS:,}",
    "status text of a user": f"{limits.MAX_STATUS_CHARS} characters",
    "users in one request about presence": f"{limits.MAX_PRESENCE_USERS}",
    "users whose presence a session watches": f"{limits.MAX_SUBSCRIPTIONS}",
    "time of a subscription to presence": f"{limits.MAX_SUBSCRIPTION_S:,} s",
    "epoch of a cursor": f"{4 * EPOCH_CHARS} characters",
    "users that a message mentions": f"{limits.MAX_MENTIONS}",
    "messages in one page of history": f"{limits.MAX_HISTORY_PAGE}",
    "edits of one message": f"{limits.MAX_EDITS}",
    "people in an answer to receipts, and people to whom a receipt is sent": (
        f"{limits.MAX_RECEIPT_ROWS}"
    ),
    "conversations in an answer to unread": f"{limits.MAX_UNREAD_ROWS}",
    "conversations in one page": f"{limits.MAX_CONVERSATION_PAGE}",
    "integer": "2^53 - 1",
}
"""Each row of the table, as the code has it."""

KINDS: Final[dict[str, str]] = {
    "refs": "messages in an inbox",
    "dev": "devices of a user whose cursors are kept",
    "blk": "users that one user blocks",
    "blkby": "users who block one user",
    "owng": "groups that one user created",
    "ownr": "rooms that one user created",
    "grp": "members of a group",
    "log": "last messages of a room",
    "rows": "a row for each conversation of the user, for the tier's time after its last message",
    "conv": "messages, each paid for, for the tier's time; a mark for each user who was in it",
    "sent": "one value, for the dedupe window",
    "dup": "one value, for the dedupe window",
    "rate": "one value",
    "rev": "a few values, which only the app's back end and operators add to",
    "stored": "one value for each slice of the tier's time",
    "closes": "the last ends of sessions, of which so many are kept (ENDS_KEPT)",
    "seats": "connected devices, of which a session is in so many rooms, and for two minutes more",
    "users": "connected devices, of which a session is in so many rooms, and for two minutes more",
    "due": "one member for each inbox, conversation and room",
    "ttl": "one member for each message with a time to live",
}
"""What ends each kind of key that an app's users can make longer: a row of the table, or in words
what else does. Channels hold nothing."""

CHANNELS: Final = {"ch", "pres"}


def rows() -> dict[str, str]:
    """The table of SPEC.md."""
    section = SPEC.read_text().split("### 9.1 The table")[1].split("## 10.")[0]
    found = re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    return {what: limit for what, limit in found if what != "what"}


def test_each_row_of_the_table_is_what_the_code_holds_to() -> None:
    """HP-9.1-1: all rows, with all their numbers and units, and no row that the code lacks."""
    assert rows() == CAPS


def kinds() -> set[str]:
    """The kinds of keys that belong to users, conversations, groups and rooms."""
    keys = Keys("sg")
    names = [
        *keys.user("app", "u")[3:],
        *keys.inbox("app", "u")[3:],
        keys.conversation("app", "d:a:b").head,
        keys.conversation("app", "d:a:b").ttl,
        keys.group("app", "g").state,
        *keys.room("app", "r")[2:],
        keys.dedupe(0, "app", b"m"),
        keys.sent(0, b"m"),
        keys.rate("app", "u"),
        keys.presence_channel("app", "u"),
    ]
    return {name.rpartition("}:")[2].partition(":")[0] for name in names}


def test_each_kind_of_key_has_an_end() -> None:
    """HP-9.1-1, G9: a key of a new kind says here what ends it."""
    assert kinds() - CHANNELS == set(KINDS)
    words = {said for said in KINDS.values() if said not in CAPS}
    assert all(len(said.split()) > 1 for said in words)


def limited(kind: Any) -> bool:
    """Whether a value of a field's type, as msgspec describes it, can't be longer than it says."""
    info = msgspec.inspect
    match kind:
        case info.StrType():
            return kind.max_length is not None or kind.pattern is not None
        case info.BytesType():
            return kind.max_length is not None
        case info.ListType() | info.VarTupleType() | info.SetType() | info.FrozenSetType():
            return kind.max_length is not None and limited(kind.item_type)
        case info.DictType():
            return kind.max_length is not None
        case info.UnionType():
            return all(limited(each) for each in kind.types)
        case info.TupleType():
            return all(limited(each) for each in kind.item_types)
        case info.StructType():
            return all(limited(each.type) for each in kind.fields)
        case info.IntType() | info.FloatType() | info.BoolType() | info.NoneType():
            return True
        case info.LiteralType() | info.EnumType():
            return True
    return False


LONG: Final = {
    ("Connect", "token"): "token",
    ("Renew", "token"): "token",
    ("Send", "body"): "body",
    ("RoomSend", "body"): "body",
    ("Edit", "body"): "body",
    ("Signal", "body"): "body of a signal",
    ("RoomSet", "write"): "two words are taken",
}
"""Fields that the frame itself does not bound, and what does."""


@pytest.mark.parametrize("frame", get_args(ClientFrame), ids=lambda each: each.__name__)
def test_no_field_of_a_clients_frame_is_endless(frame: Any) -> None:
    """HP-9.1-1, G9: each text and each array says how long it may be; or somebody else looks."""
    found = msgspec.inspect.type_info(frame)
    assert isinstance(found, msgspec.inspect.StructType)
    endless = {(frame.__name__, each.name) for each in found.fields if not limited(each.type)}
    assert endless <= set(LONG), endless
