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


def request(
    price: int | Callable[..., int],
) -> Callable[[_Method[_Self, _Who, _Asked, _Answer]], _Method[_Self, _Who, _Asked, _Answer]]:
    """Make a request, which costs `price`, of a method whose first argument is the principal.

    `price` is of `gateway.chat.prices`: a number, or a function of the arguments that follow the
    principal. The request refuses a principal of another kind than that argument's type, and has it
    pay, before there is anything to await: so a flood costs no tasks. Whatever the floors below
    raise leaves it as `Refused`, so that a door catches nothing else.
    """

    def made(
        method: _Method[_Self, _Who, _Asked, _Answer],
    ) -> _Method[_Self, _Who, _Asked, _Answer]:
        kind = next(iter(get_type_hints(method).values()))

        async def answer(
            self: _Self, principal: _Who, /, *args: _Asked.args, **kwargs: _Asked.kwargs
        ) -> _Answer:
            try:
                return await method(self, principal, *args, **kwargs)
            except FAULTS as error:
                raise refusal(error) from error

        @wraps(method)
        def asked(
            self: _Self, principal: _Who, /, *args: _Asked.args, **kwargs: _Asked.kwargs
        ) -> Coroutine[Any, Any, _Answer]:
            of_kind(principal, kind)
            try:
                costs = price if isinstance(price, int) else price(*args, **kwargs)
                principal.allowance.pay(principal.app.tier, costs)
            except FAULTS as error:
                raise refusal(error) from error
            return answer(self, principal, *args, **kwargs)

        return asked

    return made
