"""The values that the SDK gives to programs, all of those that homeport/__init__.py exports."""

from __future__ import annotations

import dataclasses
from typing import Any

import homeport
import msgspec
import pytest

SECRET = "secret"
TOLD: dict[str, Any] = {"body": b"secret", "mentions": (SECRET,), "users": [SECRET], "members": ()}
"""Values that may not be in a log, by the name of a field, and so for `PEOPLE`."""
PEOPLE = ("sender", "to", "peer", "user", "by", "name", "status", "text", "invited", "blocked")


def _fields(kind: object) -> tuple[str, ...]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return ()


VALUES = {name: fields for name in homeport.__all__ if (fields := _fields(getattr(homeport, name)))}


def test_the_values_are_found() -> None:
    """What the next test is for is there."""
    assert {"Message", "Sent", "GroupInfo", "GroupNotice", "Receipt", "Presence"} <= VALUES.keys()


@pytest.mark.parametrize("name", VALUES)
def test_no_repr_tells_who_or_what(name: str) -> None:
    """G7: programs log what they are given. The reprs of notices, members, receipts and Sent held
    user ids, the name of a group, or the text of an edit."""
    given = {field: SECRET if field in PEOPLE else TOLD.get(field, 1) for field in VALUES[name]}
    assert SECRET not in repr(getattr(homeport, name)(**given))
