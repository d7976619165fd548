"""Requests other than a send or a signal: what each method that answers one has in common."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints

from gateway.chat.principal import Principal, of_kind
from gateway.chat.refused import FAULTS, refusal

_Self = TypeVar("_Self")
_Who = TypeVar("_Who", bound=Principal)
_Asked = ParamSpec("_Asked")
_Answer = TypeVar("_Answer")

_Method = Callable[Concatenate[_Self, _Who, _Asked], Coroutine[Any, Any, _Answer]]


def request(method: _Method[_Self, _Who, _Asked, _Answer]) -> _Method[_Self, _Who, _Asked, _Answer]:
    """Make a request of `method`, whose first argument is the principal that asks.

    It refuses a principal of another kind than that argument's type, and takes a token of the
    principal's; and whatever the floors below raise leaves it as `Refused`, so that a door catches
    nothing else.
    """
    kind = next(iter(get_type_hints(method).values()))

    @wraps(method)
    async def asked(
        self: _Self, principal: _Who, /, *args: _Asked.args, **kwargs: _Asked.kwargs
    ) -> _Answer:
        of_kind(principal, kind)
        try:
            principal.allowance.request(principal.app.tier)
            return await method(self, principal, *args, **kwargs)
        except FAULTS as error:
            raise refusal(error) from error

    return asked
