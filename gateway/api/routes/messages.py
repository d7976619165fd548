"""Messages: send as a user, read, recall, edit."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from fastapi import Query as InQuery
from homeport.frames import Entry, Options
from homeport.ids import GROUP, direct_conversation
from homeport.limits import MAX_HISTORY_PAGE, MAX_KIND_CHARS, MAX_MENTIONS, MAX_TTL_S
from pydantic import Field, ValidationError, model_validator

from gateway.api.answers import ask, json_answer, no_content, problems, services_of
from gateway.api.auth import Caller
from gateway.api.models import (
    Answer,
    Asked,
    ClientId,
    ConversationName,
    Count,
    Page,
    Seq,
    Text,
    UserId,
)
from gateway.api.problems import Problem, of_fields
from gateway.api.services import Services, limit_headers
from gateway.chat.principal import User
from gateway.chat.refused import FAULTS, Refused, refusal
from gateway.store.entries import Stored

router = APIRouter(tags=["messages"])

REMEMBERED_MS: Final = 24 * 60 * 60 * 1000
"""For how long a client id that came this way is remembered: a server's queue may stand still for
hours, and then repeat."""

MAX_RECIPIENTS: Final = 100

_Recipient = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z0-9._@+\-]{1,64}|g:[0-9a-f]{32}|r:[A-Za-z0-9._@+\-]{1,64})$",
        examples=["bob"],
    ),
]
_Conversation = Annotated[ConversationName, InPath()]
_Seq = Annotated[Seq, InPath()]


class WithBody(Asked):
    """Exactly one of `text` and `data` (base64) is the body."""

    text: Text | None = None
    data: str | None = None

    @model_validator(mode="after")
    def _one(self) -> WithBody:
        if (self.text is None) == (self.data is None):
            raise ValueError("give one of text and data")
        self.body()
        return self

    def body(self) -> bytes:
        """The body, in bytes."""
        if self.text is not None:
            return self.text.encode()
        return b64decode(self.data or "", validate=True)


class _Message(WithBody):
    """What a message says, and with which options; those of a `send` over a WebSocket."""

    sender: UserId = Field(alias="from")
    client_id: ClientId
    kind: Annotated[Text, Field(min_length=1, max_length=MAX_KIND_CHARS)] = "text"
    mentions: Annotated[tuple[UserId, ...], Field(max_length=MAX_MENTIONS, strict=False)] = ()
    reply: Seq | None = None
    history: bool = True
    online_only: bool = False
    ttl: Annotated[int, Field(ge=1, le=MAX_TTL_S)] | None = None

    def options(self) -> Options | None:
        """As the wire has them."""
        made = Options(self.mentions, self.reply, self.history, self.online_only, self.ttl)
        return None if made == Options() else made


class SendMessage(_Message):
    """A message to a user, to a group (``g:<id>``) or to a room (``r:<id>``)."""

    to: _Recipient
    priority: Annotated[int, Field(ge=0, le=2)] | None = None


class SendMany(_Message):
    """The same message to several users. Each gets it in their own conversation with `from`."""

    to: Annotated[list[UserId], Field(min_length=1, max_length=MAX_RECIPIENTS)]


class Sent(Answer):
    """`seq` is the message's number in its conversation, 0 where it has none; `time` is in ms since
    1970. A `repeated` one was there before."""

    id: str
    to: str
    conversation: str | None
    seq: Count
    time: Count
    repeated: bool


class Refusal(Answer):
    """Why a recipient got nothing."""

    code: str
    detail: str
    retry_after: float | None = None


class Outcome(Answer):
    """What became of a message for one recipient: either `sent` or `error`."""

    to: str
    sent: Sent | None = None
    error: Refusal | None = None


class Outcomes(Answer):
    """One for each recipient, in the order of the request."""

    results: list[Outcome]


class Edit(WithBody):
    """The message's new body."""


class MessageView(Answer):
    """A message of a conversation. `text` is its body where that is UTF-8, else `data` (base64).

    `edited` and `expires` are in ms since 1970.
    """

    seq: Count
    id: str
    sender: str = Field(alias="from")
    to: str
    time: Count
    kind: str
    text: str | None = None
    data: str | None = None
    mentions: tuple[str, ...] = ()
    reply: int | None = None
    expires: int | None = None
    edits: int = 0
    edited: int | None = None


class MessagePage(Page[MessageView]):
    """`lost` is how many messages the region had accepted and no longer has, of those that would
    stand here."""

    lost: Count = 0


@router.post(
    "/v1/messages",
    status_code=201,
    response_model=Sent,
    responses={200: {"model": Sent}, **problems(403, 404, 409, 413, 422)},
)
async def send(request: Request, asked: SendMessage) -> Response:
    """Send a message as a user. `client_id` names it among the user's: what a phone sent under the
    same is the same message, and so is what is sent again within 24 hours."""
    return await _send(services_of(request), ask(request, "send"), asked)


async def send_at_once(services: Services, caller: Caller, body: bytes) -> Response:
    """What `send` does, for the front to call: most of what FastAPI does for a route costs more
    than the message.

    Raises:
        Problem: as the route says.
    """
    caller.needs("send")
    try:
        asked = SendMessage.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise of_fields([{**each, "loc": ("body", *each["loc"])} for each in found]) from None
    try:
        return await _send(services, caller, asked)
    except (Refused, *FAULTS) as error:
        raise Problem.of(refusal(error)) from error


async def _send(services: Services, caller: Caller, asked: SendMessage) -> Response:
    async with services.user(caller.app.id, asked.sender) as user:
        mid, stored = _begin(services, user, asked, asked.to, asked.client_id, asked.priority)
        sent = _sent(user, asked.to, mid, await stored)
        headers = limit_headers(user.allowance)
    if sent["conversation"] is not None:
        headers["location"] = f"/v1/conversations/{sent['conversation']}/messages/{sent['seq']}"
    return json_answer(sent, 200 if sent["repeated"] else 201, headers)


@router.post("/v1/messages/batch", response_model=Outcomes, responses=problems(403, 413, 422))
async def send_many(request: Request, asked: SendMany) -> Response:
    """Send a message as a user to up to 100 users, and say of each what became of it.

    Under the same `client_id` each of them gets it once."""
    caller = ask(request, "send")
    services = services_of(request)
    if len(set(asked.to)) < len(asked.to):
        raise Problem("invalid_field", "A recipient is named twice.")
    results: list[dict[str, Any]] = []
    async with services.user(caller.app.id, asked.sender) as user:
        begun = [_try(services, user, asked, to) for to in asked.to]
        waiting = [stored for _, stored in begun if not isinstance(stored, Refused)]
        await asyncio.gather(*waiting, return_exceptions=True)
        for to, (mid, stored) in zip(asked.to, begun, strict=True):
            results.append({"to": to, **_outcome(user, to, mid, stored)})
        headers = limit_headers(user.allowance)
    return json_answer({"results": results}, 200, headers)


@router.get(
    "/v1/conversations/{conversation}/messages",
    response_model=MessagePage,
    responses=problems(403, 404, 422),
)
async def history(
    request: Request,
    conversation: _Conversation,
    limit: Annotated[int, InQuery(ge=1, le=MAX_HISTORY_PAGE)] = 50,
    cursor: Annotated[str | None, InQuery(max_length=512)] = None,
    oldest_first: bool = False,
) -> Response:
    """A conversation's messages, the newest first, or the oldest."""
    caller = ask(request, "read")
    services, of = services_of(request), f"messages {conversation} {oldest_first}"
    place: dict[str, int] = {"after": 0} if oldest_first else {}
    if cursor is not None:
        name = "after" if oldest_first else "before"
        place = {name: services.cursors.open(caller.app, of, cursor)}
    app = await services.app(caller.app.id)
    found = await services.chat.history.page(app, conversation, limit, **place)
    following = None
    if found.next is not None:
        now_ms = services.clock.wall_ms()
        following = services.cursors.make(caller.app, of, found.next, now_ms)
    page = {
        "items": [_view(entry) for entry in found.entries],
        "next_cursor": following,
        "lost": found.lost,
    }
    return json_answer(page, 200, limit_headers(app.allowance))


@router.get(
    "/v1/conversations/{conversation}/messages/{seq}",
    response_model=MessageView,
    responses=problems(403, 404, 422),
)
async def read(request: Request, conversation: _Conversation, seq: _Seq) -> Response:
    """One message."""
    caller = ask(request, "read")
    services = services_of(request)
    app = await services.app(caller.app.id)
    found = await services.chat.history.page(app, conversation, 1, after=seq - 1)
    if not found.entries or found.entries[0].seq != seq:
        raise Problem("unknown_message")
    return json_answer(_view(found.entries[0]), 200, limit_headers(app.allowance))


@router.patch(
    "/v1/conversations/{conversation}/messages/{seq}",
    status_code=204,
    response_class=Response,
    responses=problems(403, 404, 409, 413, 422),
)
async def edit(request: Request, conversation: _Conversation, seq: _Seq, asked: Edit) -> Response:
    """Give a message of kind text another text, however old it is."""
    caller = ask(request, "send")
    services = services_of(request)
    app = await services.app(caller.app.id)
    await services.chat.recalls.edit(app, conversation, seq, asked.body())
    return no_content(limit_headers(app.allowance))


@router.delete(
    "/v1/conversations/{conversation}/messages/{seq}",
    status_code=204,
    response_class=Response,
    responses=problems(403, 404, 422),
)
async def recall(request: Request, conversation: _Conversation, seq: _Seq) -> Response:
    """Take a message back, however old it is: no device is sent it any more."""
    caller = ask(request, "send")
    services = services_of(request)
    app = await services.app(caller.app.id)
    await services.chat.recalls.recall(app, conversation, seq)
    return no_content(limit_headers(app.allowance))


# -- what they share -------------------------------------------------------------------------------


def _begin(
    services: Services,
    user: User,
    asked: _Message,
    to: str,
    client_id: str,
    priority: int | None = None,
) -> tuple[bytes, asyncio.Future[Stored]]:
    return services.chat.messages.send(
        user,
        client_id,
        to,
        asked.kind,
        asked.body(),
        options=asked.options(),
        priority=priority,
        remembered_ms=REMEMBERED_MS,
    )


def _try(
    services: Services, user: User, asked: SendMany, to: str
) -> tuple[bytes, asyncio.Future[Stored] | Refused]:
    # A message is known by its sender and its client id. No client id of a single one has a zero.
    try:
        return _begin(services, user, asked, to, f"{asked.client_id}\0{to}")
    except Refused as refused:
        return b"", refused


def _outcome(
    user: User, to: str, mid: bytes, stored: asyncio.Future[Stored] | Refused
) -> dict[str, Any]:
    if isinstance(stored, Refused):
        return {"error": Problem.of(stored).to_item()}
    error = stored.exception()
    if error is not None:
        return {"error": Problem.of(refusal(error)).to_item()}
    return {"sent": _sent(user, to, mid, stored.result())}


def _sent(user: User, to: str, mid: bytes, stored: Stored) -> dict[str, Any]:
    conversation = None
    if stored.seq:
        conversation = to if to.startswith(GROUP) else direct_conversation(user.id, to)
    return {
        "id": mid.hex(),
        "to": to,
        "conversation": conversation,
        "seq": stored.seq,
        "time": stored.time_ms,
        "repeated": stored.repeated,
    }


def _view(entry: Entry) -> dict[str, Any]:
    message = entry.message
    try:
        body = {"text": message.body.decode()}
    except UnicodeDecodeError:
        body = {"data": b64encode(message.body).decode()}
    extra = msgspec.to_builtins(message.extra) if message.extra is not None else {}
    return {
        "seq": entry.seq,
        "id": message.id.hex(),
        "from": message.sender,
        "to": message.to,
        "time": message.time,
        "kind": message.kind,
        **body,
        **extra,
    }
