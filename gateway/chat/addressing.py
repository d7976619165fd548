"""Whom a request is about: from the `to` or `peer` of a frame to a conversation.

A client names a conversation by its other end: a user id for a direct one. The store and the seals
name it the same way from both ends (`protocol.ids.direct_conversation`).
"""

from __future__ import annotations

from gateway.chat.refused import Refused
from protocol import codes
from protocol.ids import direct_conversation, is_user_id


def conversation_of(user: str, peer: str) -> str:
    """The conversation that `user` calls `peer`.

    Raises:
        Refused: unknown_recipient.
    """
    if not is_user_id(peer):
        raise Refused(codes.UNKNOWN_RECIPIENT)
    return direct_conversation(user, peer)
