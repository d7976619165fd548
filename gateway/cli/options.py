"""Options that several commands share, or that are of one thing: handed in as that thing."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any


def taking(
    name: str, make: Callable[..., Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator for a command that takes `name`, for which there are options instead.

    The options are the parameters of `make`, which makes the value of them before the command runs.
    They follow the command's own. Typer reads them from the signature (PEP 362).
    """
    made = inspect.signature(make, eval_str=True).parameters

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            options = {each: given.pop(each) for each in made}
            command(**{name: make(**options)}, **given)

        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.name != name]
        shared = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in made.values()]
        run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        return run

    return decorate
