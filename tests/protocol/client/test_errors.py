"""What the SDK raises: names, and classes for what programs branch on."""

from __future__ import annotations

from collections.abc import Iterator

import homeport
import pytest
from homeport import (
    Blocked,
    ClientClosed,
    NotAMember,
    RateLimited,
    RequestRefused,
    StorageFull,
    TokenRefused,
    TooLarge,
    Unauthorized,
    Unavailable,
    codes,
)
from homeport.client.errors import refusal_of
from homeport.frames import Error

KINDS: dict[type[RequestRefused], set[str]] = {
    RateLimited: {"rate_limited", "too_many_connections"},
    Unavailable: {"unavailable", "internal"},
    TooLarge: {"body_too_large"},
    StorageFull: {"storage_full"},
    Unauthorized: {"not_allowed", "muted", "not_yours", "room_read_only", "not_room_creator"},
    Blocked: {"blocked"},
    NotAMember: {"not_a_member", "not_in_room"},
}
"""By class, as their docstrings say it; codes that begin with ``token_`` are added to one."""


def expected(code: codes.ErrorCode) -> type[RequestRefused]:
    """The class of a code's error."""
    if code.name.startswith("token_"):
        return Unauthorized
    return next((kind for kind, names in KINDS.items() if code.name in names), RequestRefused)


@pytest.mark.parametrize("code", codes.ERRORS.values(), ids=lambda code: code.name)
def test_each_code_has_its_name_and_class(code: codes.ErrorCode) -> None:
    """A program had to write `error.code == codes.NOT_A_MEMBER.number`."""
    error = refusal_of(Error(7, code.number, "why", 2.5, {"limit": "user"}))
    assert type(error) is expected(code)
    assert (error.name, error.code, error.text) == (code.name, code.number, "why")
    assert (error.retry_after, error.details) == (2.5, {"limit": "user"})
    assert str(error) == f"{code.name} ({code.number}): why"


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_says_which_codes_it_has(kind: type[RequestRefused]) -> None:
    """Whoever reads its documentation knows what is caught, and imports it from the package."""
    assert kind.__doc__ is not None
    assert {name for name in _words(kind.__doc__) if name in _NAMES} == KINDS[kind]
    assert getattr(homeport, kind.__name__) is kind


_NAMES = {code.name for code in codes.ERRORS.values()}


def _words(text: str) -> Iterator[str]:
    return (part for number, part in enumerate(text.split("``")) if number % 2)


def test_a_code_of_a_newer_server() -> None:
    """It is an error like the others, and says that this version does not know it."""
    error = refusal_of(Error(7, 9999, "why"))
    assert type(error) is RequestRefused
    assert (error.name, error.code) == ("unknown_code", 9999)
    assert str(error) == "unknown_code (9999): why"


def test_what_ends_a_client_has_a_name_too() -> None:
    """The word of a close code; what HTTP and WebSocket have of their own has none."""
    assert ClientClosed("why", codes.KICKED.number).name == "kicked"
    assert (ClientClosed("why", 1008).name, ClientClosed("why").name) == (None, None)
    refused = TokenRefused(codes.TOKEN_EXPIRED.number, "why", "Do this.", 4501)
    assert (refused.error, refused.name) == ("token_expired", "unauthorized")
