"""What bodies of requests and answers have in common. Unknown fields of a request are refused."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from homeport.limits import MAX_ID_CHARS, MAX_INTEGER
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_Item = TypeVar("_Item")

USER = r"^[A-Za-z0-9._@+\-]{1,64}$"

UserId = Annotated[str, Field(pattern=USER, examples=["alice"])]
Seq = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
ClientId = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
ConversationName = Annotated[
    str,
    Field(
        pattern=r"^(d:[A-Za-z0-9._@+\-]{1,64}:[A-Za-z0-9._@+\-]{1,64}|g:[0-9a-f]{32})$",
        examples=["d:alice:bob"],
    ),
]
"""``d:<user>:<user>``, the lower of the two first, or ``g:<group>``."""


def _no_surrogates(text: str) -> str:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("has half of a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_no_surrogates)]


class Asked(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, populate_by_name=True
    )


class Answer(BaseModel):
    """The body of an answer. Clients pass over fields that they do not know."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Page(Answer, Generic[_Item]):
    """One page of a list. `next_cursor` is null at its end."""

    items: list[_Item]
    next_cursor: str | None


class ProblemBody(Answer):
    """RFC 9457. `code` is a word of SPEC.md section 8.4 or of /v1/problems/."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: tuple[dict[str, str], ...] = ()
