"""Saying no over HTTP: RFC 9457 problems, whose `code` is the word of SPEC.md section 8.4.

The one table of which word has which status. What only HTTP can get wrong has words of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from homeport import codes

from gateway.chat.refused import Refused

MEDIA_TYPE: Final = "application/problem+json"
PLACE: Final = "/v1/problems/"
"""Where the text of a code is; `type` of a problem is a URL below it."""


class Word(NamedTuple):
    """A code of a problem: the status that it comes with, and what it means."""

    status: int
    meaning: str


_STATUS: Final = {
    "token_missing": 401,
    "token_too_large": 401,
    "token_malformed": 401,
    "token_algorithm": 401,
    "token_signature": 401,
    "token_expired": 401,
    "token_not_yet": 401,
    "token_lifetime": 401,
    "token_audience": 401,
    "token_revoked": 401,
    "unknown_app": 401,
    "wrong_region": 421,
    "body_too_large": 413,
    "blocked": 403,
    "rate_limited": 429,
    "unavailable": 503,
    "internal": 500,
    "unknown_group": 404,
    "not_a_member": 403,
    "not_allowed": 403,
    "group_full": 409,
    "muted": 403,
    "owner_stays": 409,
    "group_too_large": 409,
    "unknown_message": 404,
    "recall_too_late": 409,
    "edit_limit": 409,
    "not_yours": 403,
    "not_text": 409,
    "not_in_room": 403,
    "room_read_only": 403,
    "not_room_creator": 403,
    "too_many_blocks": 409,
    "storage_full": 409,
    "too_many_rooms": 409,
    "too_many_subscriptions": 409,
}
"""Where it is not 422: the request is well written, and asks for what can't be."""

_OTHERWISE: Final = 422

OWN: Final = {
    "key_unknown": Word(401, "The key is none of the app's, or was deleted."),
    "scope_missing": Word(403, "The key is not for this; give one with the scope that is named."),
    "malformed": Word(400, "The request can't be read."),
    "not_found": Word(404, "There is nothing here, or not for this app."),
    "method_not_allowed": Word(405, "This can't be done here; `Allow` says what can."),
    "request_timeout": Word(408, "The request did not arrive in time."),
    "request_too_large": Word(413, "The request is larger than the API takes."),
    "unsupported_media_type": Word(415, "The body must be application/json."),
    "idempotency_key_refused": Word(
        400, "A send is repeated under its `client_id`; it takes no Idempotency-Key."
    ),
    "idempotency_key_in_use": Word(409, "A request with this Idempotency-Key is under way."),
    "idempotency_key_reused": Word(422, "This Idempotency-Key came with another request before."),
}
"""The words that SPEC.md does not have, because no client can get there over a WebSocket."""

WORDS: Final = {
    code.name: Word(_STATUS.get(code.name, _OTHERWISE), code.meaning)
    for code in codes.ERRORS.values()
} | OWN


class Problem(Exception):
    """An answer that says no. `members` are further members of the problem."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        retry_after: float | None = None,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code
        self.word = WORDS[code]
        self.detail = detail or self.word.meaning
        self.retry_after = retry_after
        self.members = dict(members or {})
        self.headers = dict(headers or {})
        super().__init__(self.detail)

    @classmethod
    def of(cls, refused: Refused) -> Problem:
        """What a refusal of `gateway.chat` is over HTTP."""
        return cls(
            refused.code.name,
            str(refused),
            retry_after=refused.retry_after,
            members=refused.details,
        )

    def to_item(self) -> dict[str, Any]:
        """As one item of a batch says it."""
        item = {**self.members, "code": self.code, "detail": self.detail}
        if self.retry_after is not None:
            item["retry_after"] = self.retry_after
        return item

    def to_bytes(self, request_id: str) -> bytes:
        """The body: JSON."""
        return msgspec.json.encode(
            {
                **self.members,
                "type": PLACE + self.code,
                "title": self.word.meaning,
                "status": self.word.status,
                "detail": self.detail,
                "instance": f"urn:homeport:request:{request_id}",
                "code": self.code,
                "request_id": request_id,
            }
        )

    def to_headers(self) -> dict[str, str]:
        """The headers that belong to it."""
        headers = {"content-type": MEDIA_TYPE, **self.headers}
        if self.word.status == 401:
            headers["www-authenticate"] = 'Bearer realm="homeport"'
        if self.retry_after is not None or self.word.status in (429, 503):
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after or 1)))
        return headers


def of_fields(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The problem of a request whose fields are wrong; `errors` are pydantic's. It names fields and
    rules, and never shows a value."""
    if any(error["type"] == "json_invalid" for error in errors):
        return Problem("malformed", "The body is not JSON.")
    told = [
        {
            "pointer": "".join(f"/{_escaped(each)}" for each in error["loc"]),
            "code": error["type"],
            "detail": error["msg"],
        }
        for error in errors
    ]
    return Problem("invalid_field", members={"errors": told})


def _escaped(name: object) -> str:
    """A part of a JSON pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")
