"""Numbers of protocol v1 that both sides rely on. SPEC.md section 9 is their normative form."""

from __future__ import annotations

from typing import Final

SUBPROTOCOL: Final = "homeport.v1.msgpack"
"""The WebSocket subprotocol of protocol v1 (SPEC.md section 2)."""

PATH: Final = "/v1"
"""The only path of the WebSocket endpoint."""

MAX_TOKEN_CHARS: Final = 4096
"""Longest token, in characters of its compact form."""

MAX_CONNECT_BYTES: Final = 8192
"""Largest message before the connection is authenticated, in bytes."""

MAX_FRAME_BYTES: Final = 72 * 1024
"""Largest message after it, in bytes: the largest tier's body (64 KiB) and room for the rest."""

CONNECT_TIMEOUT_S: Final = 5.0
"""Seconds from the TCP connection to a complete connect frame."""

WINDOW: Final = 256
"""Pushes in flight: sent on a connection and not yet acknowledged."""

DEDUPE_WINDOW_MS: Final = 10 * 60 * 1000
"""How long a client message id is remembered, in milliseconds."""

MAX_ID_CHARS: Final = 64
"""Longest user id, device id or client message id, in characters."""

MAX_KIND_CHARS: Final = 32
"""Longest kind of a message (``text``, ``image`` …), in characters."""

MAX_GROUP_NAME_CHARS: Final = 128
"""Longest name of a group, in characters."""

MAX_GROUP_CHANGE: Final = 100
"""Users in one request about a group's members; it keeps the notice that all get small."""

MAX_INVITATIONS: Final = 100
"""The largest number of invitations that a group has out, declined ones included."""

INVITATION_S: Final = 7 * 24 * 60 * 60
"""How long an invitation to a group lasts, in seconds, and how long its user is not invited to that
group again."""

MAX_LEAVERS: Final = 1000
"""The number of users whose leaving a group remembers. Then it takes nobody without an
invitation."""

MAX_PLATFORM_CHARS: Final = 32
"""Longest platform of a device (``ios``, ``web`` …), in characters."""

MAX_BLOCKS: Final = 1000
"""Most users that one user blocks. A list of them fits one frame."""

MAX_BLOCKERS: Final = 50_000
"""A user whom more others block is taken to be blocked by everybody."""

MAX_LAST: Final = 200
"""The number of messages that a room keeps for sessions that join."""

MAX_ROOMS: Final = 100
"""Most rooms that one session is in."""

MAX_ROOM_ADMINS: Final = 100
"""Most admins of a room, besides its creator."""

MAX_SIGNAL_BYTES: Final = 4096
"""Largest body of a signal, in bytes."""

SIGNAL_RATE: Final = 10
"""Signals a second that a session may send on."""

SIGNAL_BURST: Final = 20
"""Signals that a session may send at once."""

MAX_SIGNAL_MEMBERS: Final = 1000
"""Largest group that takes signals, in members."""

MAX_STATUS_CHARS: Final = 128
"""Longest status text of a user, in characters."""

MAX_PRESENCE_USERS: Final = 100
"""Users in one request about presence; so their states, with the longest texts, fit one frame."""

MAX_SUBSCRIPTIONS: Final = 500
"""The largest number of users whose presence one session may watch."""

MAX_SUBSCRIPTION_S: Final = 24 * 60 * 60
"""Longest time that a subscription to a user's presence lasts, in seconds."""

MAX_MENTIONS: Final = 50
"""Most users that one message mentions."""

MAX_TTL_S: Final = 2**32 - 1
"""Longest time to live that a sender may ask for, in seconds; the tier's time bounds it anyway."""

MAX_HISTORY_PAGE: Final = 100
"""Most messages in one page of a conversation's history."""

MAX_CONVERSATION_PAGE: Final = 100
"""Most conversations in one page of a user's conversations."""

MAX_UNREAD_ROWS: Final = 200
"""Most conversations that one answer to ``unread`` names."""

MAX_RECEIPT_ROWS: Final = 100
"""The largest number of people in an answer to ``receipts``, and to whom a receipt is sent live."""

MAX_EDITS: Final = 10
"""How often one message may be edited."""

MAX_INTEGER: Final = 2**53 - 1
"""No integer on the wire is larger, so that a browser's numbers can hold it."""
