"""Asking the program for a token: whatever its function does, the client goes on."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Final

GET_TOKEN_S: Final = 30.0
"""Seconds that ``get_token`` may take."""

GetToken = Callable[[], Awaitable[str] | str]
"""A coroutine function, or a function, without arguments."""


class NoToken(Exception):
    """``get_token`` returned no token; the text says why, without the exception's own text."""


async def fetch(get_token: GetToken) -> str:
    """Ask `get_token`, in a task of its own: a cancellation inside it is not one of the caller.

    Raises:
        NoToken: it raised, took over `GET_TOKEN_S`, or returned something else than a text.
    """
    asking = asyncio.ensure_future(_call(get_token))
    asking.add_done_callback(_retrieve)
    try:
        done, _ = await asyncio.wait([asking], timeout=GET_TOKEN_S)
    finally:
        asking.cancel()  # nobody waits for a hanging one to end
    if not done:
        raise NoToken(f"get_token took over {GET_TOKEN_S:g} seconds")
    if asking.cancelled():
        raise NoToken("get_token raised CancelledError")
    if (error := asking.exception()) is not None:
        raise NoToken(f"get_token raised {type(error).__name__}")
    return _text(asking.result())


def _text(token: object) -> str:
    if not isinstance(token, str):
        raise NoToken(f"get_token returned {type(token).__name__} instead of str")
    if not token.isascii():
        raise NoToken("get_token returned what is no token: tokens are ASCII")
    return token


async def _call(get_token: GetToken) -> object:
    result: object = get_token()
    return await result if inspect.isawaitable(result) else result


def _retrieve(asking: asyncio.Future[object]) -> None:
    """Its exception is looked at, also where nobody waits any more."""
    if not asking.cancelled():
        asking.exception()
