"""Identifiers: their forms, and how a message id and a conversation are derived.

All are checked by full match on ASCII, so that an id is the same bytes in a key, a token, a log
field and a URL.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

from homeport.limits import MAX_ID_CHARS

GROUP: Final = "g:"
"""Begins the name of a group where a recipient or a conversation is meant (SPEC.md HP-3.5)."""
ROOM: Final = "r:"
"""Begins the name of a room where a recipient is meant."""

_USER: Final = re.compile(rf"[A-Za-z0-9._@+\-]{{1,{MAX_ID_CHARS}}}")
_HEX: Final = re.compile(r"[0-9a-f]{32}")


def is_user_id(value: str) -> bool:
    """True for 1-64 of ``A-Z a-z 0-9 . _ @ + -`` (SPEC.md HP-3.1). Device ids too."""
    return _USER.fullmatch(value) is not None


is_device_id = is_user_id


def is_hex_id(value: str) -> bool:
    """True for 32 lower-case hex digits: an app's id (SPEC.md HP-3.2), a group's, and the text of a
    message's."""
    return _HEX.fullmatch(value) is not None


is_app_id = is_hex_id


def new_client_id() -> str:
    """A fresh client message id: 128 random bits as 32 hex digits."""
    return secrets.token_hex(16)


def message_id(app_id: str, sender: str, client_id: str) -> bytes:
    """The 16-byte id of the message that `sender` named `client_id` (SPEC.md HP-3.4).

    The first 16 bytes of SHA-256 over the three, separated by a zero byte, which neither an app id
    nor a user id can contain. A retry on any replica comes to the same id without a look-up.
    """
    return _derived(app_id, sender, client_id)


def notice_id(word: str, app_id: str, *what: str) -> bytes:
    """The 16-byte id of a message that the server makes, the same on every replica and repetition.

    `word` says what kind of notice it is. No app id is such a word, so no client can make the id.
    """
    return _derived(word, app_id, *what)


def group_id(app_id: str, owner: str, client_id: str) -> str:
    """The id of the group that `owner` named `client_id`: 32 hex digits (SPEC.md HP-11.1-1).

    Derived as a message id is, with a word before it that no app id can be, so the two never meet.
    """
    return _derived("group", app_id, owner, client_id).hex()


def _derived(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()[:16]


def group_of(to: str) -> str | None:
    """The group that ``g:<group id>`` means, or None."""
    group = to.removeprefix(GROUP)
    return group if to.startswith(GROUP) and is_hex_id(group) else None


def direct_conversation(a: str, b: str) -> str:
    """The name of two users' conversation, the same from both ends: ``d:<lower>:<higher>``."""
    return f"d:{a}:{b}" if a <= b else f"d:{b}:{a}"


def peer_of(user: str, conversation: str) -> str:
    """What `user` calls a conversation: the other user of a direct one."""
    kind, _, members = conversation.partition(":")
    if kind != "d":
        return conversation
    lower, _, higher = members.partition(":")
    return higher if lower == user else lower


def room_of(to: str) -> str | None:
    """The room that ``r:<room id>`` means, or None: room ids have the form of user ids."""
    room = to.removeprefix(ROOM)
    return room if to.startswith(ROOM) and is_user_id(room) else None
