"""How the SDK's functions are called."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import homeport

MOST = 2
"""Arguments that a public function takes by position at most: what it is about."""


def public() -> Iterator[tuple[str, inspect.Signature]]:
    """The functions, and the methods of classes, that a program can import; not the values."""
    for name in homeport.__all__:
        found = getattr(homeport, name)
        if inspect.isclass(found):
            for method, function in inspect.getmembers(found, inspect.isfunction):
                if not method.startswith("_"):
                    yield f"{name}.{method}", inspect.signature(function)
    yield "Client", inspect.signature(homeport.Client.__init__)


def test_options_are_given_by_name() -> None:
    """A call of `unread(5)` does not say that 5 are seconds, and an option could never move."""
    found = {
        name
        for name, signature in public()
        for by_position in [
            [
                each.name
                for each in signature.parameters.values()
                if each.kind is not each.KEYWORD_ONLY and each.name != "self"
            ]
        ]
        if len(by_position) > MOST or "timeout" in by_position
    }
    assert found == set()
    assert len(list(public())) > 30
