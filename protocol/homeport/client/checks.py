"""Checks of arguments, before anything is sent.

Only those mistakes are checked that would otherwise send something else, or nothing. The server
checks forms and sizes.
"""

from __future__ import annotations

from collections.abc import Iterable

from homeport.ids import group_of, is_hex_id, is_user_id


def text(name: str, value: object) -> str:
    """`value`, the argument called `name`, which must be a text.

    Raises:
        TypeError: it is no str.
        ValueError: it can't be encoded in UTF-8.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be str, not {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} holds a lone surrogate, which is no Unicode text") from None
    return value


def user_id(name: str, value: object) -> str:
    """`value`, the argument called `name`, which must have the form of a user id.

    Raises:
        TypeError: it is no str.
        ValueError: it has another form.
    """
    if not is_user_id(id := text(name, value)):
        raise ValueError(f"{name} must be 1 to 64 of A-Z a-z 0-9 . _ @ + -")
    return id


def peer(name: str, value: object) -> str:
    """`value`, the argument called `name`, which must name a user or a group.

    Raises:
        TypeError: it is no str.
        ValueError: it names neither.
    """
    if not is_user_id(id := text(name, value)) and group_of(id) is None:
        raise ValueError(f"{name} must be a user id, or g: and a group's id")
    return id


def content(body: object, kind: object) -> tuple[str, bytes]:
    """The kind and the body of a message, as they are sent. `kind` None: what `body` is.

    Raises:
        TypeError: `body` is neither str nor bytes, or `kind` no str.
        ValueError: one of them is a str that can't be encoded in UTF-8.
    """
    default = "text" if isinstance(body, str) else "binary"
    return text("kind", default if kind is None else kind), message_body(body)


def message_body(value: object) -> bytes:
    """A message's body as it is sent.

    Raises:
        TypeError: it is neither str nor bytes.
        ValueError: it is a str that can't be encoded in UTF-8.
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise TypeError(f"body must be str or bytes, not {type(value).__name__}")
    return text("body", value).encode()


def user_ids(name: str, value: Iterable[str]) -> list[str]:
    """The user ids in `value`, the argument called `name`: each once, in their order.

    Raises:
        TypeError: it is one str or bytes, which would be taken for its letters, or no iterable, or
            something in it is no str.
        ValueError: a str in it is no user id.
    """
    if isinstance(value, str | bytes | bytearray | memoryview) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of user ids, not {type(value).__name__}")
    return list(dict.fromkeys(user_id(f"each of {name}", one) for one in value))


def hex_id(name: str, value: object) -> bytes:
    """The 16 bytes that `value`, the argument called `name`, is the text of.

    Raises:
        TypeError: it is no str.
        ValueError: it is not 32 lower-case hexadecimal digits.
    """
    digits = text(name, value)
    if not is_hex_id(digits):
        raise ValueError(f"{name} must be 32 lower-case hexadecimal digits")
    return bytes.fromhex(digits)


def chunks(name: str, value: Iterable[str], size: int) -> list[list[str]]:
    """The `user_ids` in `value`, no more in a list than the `size` that a request may name."""
    users = user_ids(name, value)
    return [users[at : at + size] for at in range(0, len(users), size)]


def instance(name: str, value: object, *types: type) -> None:
    """Check that `value`, the argument called `name`, is of one of `types`.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, types):
        wanted = " or ".join("None" if one is type(None) else one.__name__ for one in types)
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def one_of(name: str, value: object, *values: str) -> None:
    """Check that `value`, the argument called `name`, is one of `values`.

    Raises:
        ValueError: it is not.
    """
    if value not in values:
        raise ValueError(f"{name} must be {' or '.join(values)}")


def seconds(name: str, value: float | None) -> None:
    """Check a time to wait, in seconds; None is no limit.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, or not a number (NaN).
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds or None, not {type(value).__name__}")
    if not value >= 0:
        raise ValueError(f"{name} must not be negative, nor NaN")


def function(name: str, value: object) -> None:
    """Check that `value`, the argument called `name`, can be called.

    Raises:
        TypeError: it can't.
    """
    if not callable(value):
        raise TypeError(f"{name} must be a function, not {type(value).__name__}")
