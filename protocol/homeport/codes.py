"""Every error code and every close code, once.

Two tables, because they answer two questions. An *error* answers one request (``error`` frame) and
says what was wrong with it. A *close code* ends a connection (WebSocket close frame, RFC 6455
section 7.4.2, private range 4000-4999) and says whether to come back: 4000-4499 reconnect,
4500-4999 do not reconnect until something has changed.

A number is never reused for another meaning. SPEC.md's tables are generated from here
(``python -m homeport.codes``), and a test holds them equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Retry(Enum):
    """What a client may do with the same request after an error."""

    NEVER = "never"  # the request is wrong and stays wrong
    NEW_TOKEN = "new token"  # noqa: S105 - not a secret
    LATER = "later"  # the same request, with the same client message id, after `retry_after`


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One row of the error table: ``number`` travels, ``name`` is for people and logs."""

    number: int
    name: str
    retry: Retry
    meaning: str


@dataclass(frozen=True, slots=True)
class CloseCode:
    """One row of the close table."""

    number: int
    name: str
    meaning: str

    @property
    def reconnect(self) -> bool:
        """True when the client should come back by itself (SPEC.md HP-8.2)."""
        return self.number < FIRST_FINAL_CLOSE


FIRST_FINAL_CLOSE: Final = 4500

UNKNOWN_TYPE: Final = ErrorCode(
    100, "unknown_type", Retry.NEVER, "This server does not know the frame type."
)
INVALID_FIELD: Final = ErrorCode(
    101, "invalid_field", Retry.NEVER, "A field is missing, of the wrong type or out of range."
)
NOT_CONNECTED: Final = ErrorCode(
    102, "not_connected", Retry.NEVER, "The first frame must be connect."
)
ALREADY_CONNECTED: Final = ErrorCode(
    103, "already_connected", Retry.NEVER, "This connection is already authenticated; use renew."
)
TOKEN_MISSING: Final = ErrorCode(
    110, "token_missing", Retry.NEW_TOKEN, "Neither connect nor the upgrade carried a token."
)
TOKEN_TOO_LARGE: Final = ErrorCode(
    111, "token_too_large", Retry.NEW_TOKEN, "The token is longer than the limit."
)
TOKEN_MALFORMED: Final = ErrorCode(
    112,
    "token_malformed",
    Retry.NEW_TOKEN,
    "The token is neither a JWT nor of the form 007, or a claim has a wrong form.",
)
TOKEN_ALGORITHM: Final = ErrorCode(
    113, "token_algorithm", Retry.NEW_TOKEN, "The token is not signed with HS256, ES256 or EdDSA."
)
TOKEN_SIGNATURE: Final = ErrorCode(
    114,
    "token_signature",
    Retry.NEW_TOKEN,
    "The signature was made with none of the app's certificates and keys.",
)
TOKEN_EXPIRED: Final = ErrorCode(115, "token_expired", Retry.NEW_TOKEN, "The token's time is over.")
TOKEN_NOT_YET: Final = ErrorCode(
    116, "token_not_yet", Retry.NEW_TOKEN, "The token was issued in the future; check the clocks."
)
TOKEN_LIFETIME: Final = ErrorCode(
    117, "token_lifetime", Retry.NEW_TOKEN, "The token is valid for longer than the app allows."
)
TOKEN_AUDIENCE: Final = ErrorCode(
    118, "token_audience", Retry.NEW_TOKEN, "The token's audience is not this region's Homeport."
)
TOKEN_REVOKED: Final = ErrorCode(
    119,
    "token_revoked",
    Retry.NEW_TOKEN,
    "The token was revoked, or all of the user or the app that were issued this early.",
)
UNKNOWN_APP: Final = ErrorCode(
    120, "unknown_app", Retry.NEVER, "No such app in this region, or it was deleted."
)
WRONG_REGION: Final = ErrorCode(
    121,
    "wrong_region",
    Retry.NEVER,
    "The app lives in another region; `details` names it and, if known, its URL.",
)
TOKEN_OTHER_USER: Final = ErrorCode(
    122, "token_other_user", Retry.NEW_TOKEN, "A renewal must be for the session's app and user."
)
TOKEN_OLDER: Final = ErrorCode(
    123, "token_older", Retry.NEW_TOKEN, "A renewal's token must not be older than the session's."
)
UNKNOWN_RECIPIENT: Final = ErrorCode(
    130, "unknown_recipient", Retry.NEVER, "This server does not know this form of `to`."
)
BODY_TOO_LARGE: Final = ErrorCode(
    131, "body_too_large", Retry.NEVER, "The body is over the limit stated in connected."
)
ACK_AHEAD: Final = ErrorCode(
    132, "ack_ahead", Retry.NEVER, "The acknowledged number was never sent on this connection."
)
BLOCKED: Final = ErrorCode(
    133, "blocked", Retry.NEVER, "The recipient has blocked this user; nothing was stored."
)
RATE_LIMITED: Final = ErrorCode(
    134, "rate_limited", Retry.LATER, "Too many requests at once. Repeat after `retry_after`."
)
TOO_MANY_DEVICES: Final = ErrorCode(
    135,
    "too_many_devices",
    Retry.NEVER,
    "The user's device limit is reached, and no device is replaced.",
)
TOO_MANY_BLOCKS: Final = ErrorCode(
    136, "too_many_blocks", Retry.NEVER, "The limit of blocked users is reached; unblock one."
)
TOO_MANY_CONNECTIONS: Final = ErrorCode(
    137,
    "too_many_connections",
    Retry.LATER,
    "The tier's limit of connections of the app is reached. Repeat after `retry_after`.",
)
STORAGE_FULL: Final = ErrorCode(
    138,
    "storage_full",
    Retry.NEVER,
    "The app, or this user as a sender, has stored all that the tier allows; see `details.quota`.",
)
UNAVAILABLE: Final = ErrorCode(
    140,
    "unavailable",
    Retry.LATER,
    "The region's store is away or too busy, so nothing is promised. Repeat after `retry_after`.",
)
INTERNAL: Final = ErrorCode(
    141, "internal", Retry.LATER, "A fault of the server; it is in the server's log."
)
UNKNOWN_GROUP: Final = ErrorCode(
    150, "unknown_group", Retry.NEVER, "There is no such group, or it was deleted."
)
NOT_A_MEMBER: Final = ErrorCode(
    151,
    "not_a_member",
    Retry.NEVER,
    "This user, or the user the request is about, is not a member.",
)
NOT_ALLOWED: Final = ErrorCode(
    152, "not_allowed", Retry.NEVER, "The user's role in the group does not allow this."
)
GROUP_FULL: Final = ErrorCode(
    153, "group_full", Retry.NEVER, "The group would have more members than the app's tier allows."
)
MUTED: Final = ErrorCode(
    154, "muted", Retry.NEVER, "The user, or everyone but owner and admins, may not send here."
)
OWNER_STAYS: Final = ErrorCode(
    155, "owner_stays", Retry.NEVER, "The owner can't leave; hand the group over first."
)
GROUP_TOO_LARGE: Final = ErrorCode(
    156, "group_too_large", Retry.NEVER, "A group of more than 1,000 members takes no signals."
)
NOT_INVITED: Final = ErrorCode(
    157, "not_invited", Retry.NEVER, "This user was not invited, or the invitation is over."
)
TOO_MANY_INVITATIONS: Final = ErrorCode(
    158,
    "too_many_invitations",
    Retry.NEVER,
    "The group would have more than 100 invitations; each ends after 7 days.",
)
TOO_MANY_GROUPS: Final = ErrorCode(
    159,
    "too_many_groups",
    Retry.NEVER,
    "This user made as many groups as the app's tier allows; delete one first.",
)
UNKNOWN_MESSAGE: Final = ErrorCode(
    170, "unknown_message", Retry.NEVER, "There is no such message, or it is gone or was recalled."
)
RECALL_TOO_LATE: Final = ErrorCode(
    171, "recall_too_late", Retry.NEVER, "The time to recall or edit the message is over."
)
EDIT_LIMIT: Final = ErrorCode(
    172, "edit_limit", Retry.NEVER, "The message has reached the limit of edits."
)
NOT_YOURS: Final = ErrorCode(
    173, "not_yours", Retry.NEVER, "Another user sent the message; only they may do this."
)
NOT_TEXT: Final = ErrorCode(
    174, "not_text", Retry.NEVER, "Only a message of kind text can be edited."
)
NOT_IN_ROOM: Final = ErrorCode(
    180, "not_in_room", Retry.NEVER, "Only members of the room may do this; join it first."
)
ROOM_READ_ONLY: Final = ErrorCode(
    181, "room_read_only", Retry.NEVER, "Only the room's admins may write there."
)
NOT_ROOM_CREATOR: Final = ErrorCode(
    182, "not_room_creator", Retry.NEVER, "Only the room's creator may set who writes there."
)
TOO_MANY_ROOMS: Final = ErrorCode(
    183, "too_many_rooms", Retry.NEVER, "This session is in 100 rooms; leave one first."
)
TOO_MANY_OWN_ROOMS: Final = ErrorCode(
    184,
    "too_many_own_rooms",
    Retry.NEVER,
    "This user created as many rooms as the app's tier allows.",
)
TOO_MANY_SUBSCRIPTIONS: Final = ErrorCode(
    190,
    "too_many_subscriptions",
    Retry.NEVER,
    "This session would watch more than 500 users; unsubscribe from some first.",
)

GOING_AWAY: Final = CloseCode(4000, "going_away", "This gateway is being drained; reconnect.")
STORE_UNAVAILABLE: Final = CloseCode(
    4001,
    "store_unavailable",
    "The region's store is away; reconnect after `retry_after`.",
)
PING_TIMEOUT: Final = CloseCode(4002, "ping_timeout", "Two heartbeats went unanswered.")
SLOW_CONSUMER: Final = CloseCode(
    4003,
    "slow_consumer",
    "The client did not read for two heartbeats, or too much data waited for such clients.",
)
SESSION_EXPIRED: Final = CloseCode(
    4004, "session_expired", "The token ended; reconnect with a new one."
)
CONNECT_TIMEOUT: Final = CloseCode(4005, "connect_timeout", "No connect frame arrived in time.")
INTERNAL_ERROR: Final = CloseCode(4006, "internal_error", "A fault of the server; reconnect.")
TRY_LATER: Final = CloseCode(
    4007,
    "try_later",
    "A limit of connections is reached; reconnect after `retry_after` of the preceding error.",
)
TOO_MANY_REFUSALS: Final = CloseCode(
    4008,
    "too_many_refusals",
    "The server refused 512 requests in a row; reconnect after the `retry_after` of the last.",
)

BAD_FRAME: Final = CloseCode(
    4500,
    "bad_frame",
    "A message was not one binary MessagePack array; this connection can't be read.",
)
UNAUTHORIZED: Final = CloseCode(
    4501, "unauthorized", "The connect was refused; the preceding error says why."
)
CONNECT_EXPECTED: Final = CloseCode(
    4502, "connect_expected", "Another frame arrived before a successful connect."
)
REPLACED: Final = CloseCode(
    4503, "replaced", "The same device of the same user connected again elsewhere."
)
KICKED: Final = CloseCode(4504, "kicked", "The app's back end or an operator ended this session.")
REVOKED: Final = CloseCode(
    4505, "revoked", "The token was revoked, or the key that signed it is gone."
)
HOME_ELSEWHERE: Final = CloseCode(
    4506, "home_elsewhere", "The app lives in another region; the preceding error says where."
)
APP_DELETED: Final = CloseCode(4507, "app_deleted", "The app was deleted.")
DEVICE_LIMIT: Final = CloseCode(
    4508, "device_limit", "A newer device of the same platform took this one's place."
)

ERRORS: Final[dict[int, ErrorCode]] = {
    value.number: value for value in list(globals().values()) if isinstance(value, ErrorCode)
}
CLOSES: Final[dict[int, CloseCode]] = {
    value.number: value for value in list(globals().values()) if isinstance(value, CloseCode)
}


def may_reconnect(close_code: int) -> bool:
    """Tell whether a client should come back by itself after a WebSocket close code.

    Private codes follow their range. Of the codes of RFC 6455 section 7.4.1, a protocol error
    (1002), a wrong data type (1003, 1007), a policy violation (1008) and a message too big (1009)
    would only happen again; every other code, and no code at all (1005, 1006), is worth a retry.
    """
    if 4000 <= close_code < 5000:
        return close_code < FIRST_FINAL_CLOSE
    return close_code not in {1002, 1003, 1007, 1008, 1009, 1010}


def markdown() -> str:
    """Both tables as Markdown, for SPEC.md."""
    rows = ["| code | name | the same request again | meaning |", "|---|---|---|---|"]
    rows += [
        f"| {e.number} | `{e.name}` | {e.retry.value} | {e.meaning} |" for e in ERRORS.values()
    ]
    rows += ["", "| code | name | reconnect | meaning |", "|---|---|---|---|"]
    rows += [
        f"| {c.number} | `{c.name}` | {'yes' if c.reconnect else 'no'} | {c.meaning} |"
        for c in CLOSES.values()
    ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
