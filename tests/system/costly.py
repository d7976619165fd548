"""Every frame of a client in its most expensive forms, and what is expensive without being a frame.

The frame table is the list: `forms` fails where it has a type that nothing here builds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, get_args

import msgspec
from homeport import codec, frames
from websockets.frames import Frame, Opcode

MEMBERS: Final = 1_000
"""Of the large group, of whom nobody but its owner was ever there: as many as the tier allows."""

TEXTS: Final = 60
"""Messages that wait in the smaller group to be recalled and edited."""


@dataclass(frozen=True)
class Stock:
    """What the attacker has: see `tests.system.neighbours`, which fills it.

    `group` has `MEMBERS` members, `small` has 200 and `TEXTS` messages of `user`. `room` keeps 200
    messages, and the conversation with oneself 110, of the largest body. `bad_token` is of the
    app and badly signed, as long as a token may be.
    """

    user: str
    group: str
    small: str
    room: str
    body: bytes
    bad_token: str


def absent(count: int, prefix: str = "nobody") -> list[str]:
    """Users of the longest names, who are not there."""
    return [f"{prefix}-{number:0{63 - len(prefix)}}" for number in range(count)]


Form = Callable[[Stock, str, int], Any]
"""Makes number `n` of a flood with a `salt` of its own: a frame, or a message's bytes."""

_ID: Final = 7


def _group(stock: Stock) -> str:
    return stock.group.removeprefix("g:")


def _small(stock: Stock) -> str:
    return stock.small.removeprefix("g:")


_CROWD: Final = absent(100)

VALID: Final[dict[type, dict[str, Form]]] = {
    frames.Connect: {
        "again": lambda s, x, n: frames.Connect(_ID, "d" * 64, s.bad_token, None, "c" * 128),
    },
    frames.Renew: {"bad": lambda s, x, n: frames.Renew(_ID, s.bad_token)},
    frames.Ping: {"short": lambda s, x, n: frames.Ping()},
    frames.Pong: {"short": lambda s, x, n: frames.Pong()},
    frames.Send: {
        "group": lambda s, x, n: frames.Send(_ID, f"{x}{n}", s.group, "text", b"x"),
        "body": lambda s, x, n: frames.Send(_ID, f"{x}{n}", s.user, "text", s.body),
        "short": lambda s, x, n: frames.Send(_ID, f"{x}{n}", "somebody", "text", b"x"),
        "again": lambda s, x, n: frames.Send(_ID, x, "somebody", "text", b"x"),
        "mentions": lambda s, x, n: frames.Send(
            _ID, f"{x}{n}", s.group, "text", b"x", frames.Options(mentions=tuple(_CROWD[:50]))
        ),
    },
    frames.Ack: {"none": lambda s, x, n: frames.Ack(0), "ahead": lambda s, x, n: frames.Ack(2**50)},
    frames.GroupCreate: {
        "crowd": lambda s, x, n: frames.GroupCreate(_ID, f"{x}{n}", "n" * 128, _CROWD)
    },
    frames.GroupRename: {
        "large": lambda s, x, n: frames.GroupRename(_ID, _group(s), f"{n}".ljust(128, "n"))
    },
    frames.GroupDelete: {
        "unknown": lambda s, x, n: frames.GroupDelete(_ID, f"{n:032x}"),
    },
    frames.GroupAdd: {
        "full": lambda s, x, n: frames.GroupAdd(_ID, _group(s), absent(100, f"{n}")),
        "there": lambda s, x, n: frames.GroupAdd(_ID, _group(s), _CROWD),
    },
    frames.GroupRemove: {
        "and_add": lambda s, x, n: (frames.GroupRemove if n % 2 else frames.GroupAdd)(
            _ID, _small(s), _CROWD
        ),
    },
    frames.GroupJoin: {"there": lambda s, x, n: frames.GroupJoin(_ID, _group(s))},
    frames.GroupLeave: {"owner": lambda s, x, n: frames.GroupLeave(_ID, _group(s))},
    frames.GroupRole: {
        "large": lambda s, x, n: frames.GroupRole(
            _ID, _group(s), _CROWD[0], ("admin", "member")[n % 2]
        ),
    },
    frames.GroupMute: {
        "large": lambda s, x, n: frames.GroupMute(_ID, _group(s), n % 2 == 0),
        "member": lambda s, x, n: frames.GroupMute(_ID, _group(s), n % 2 == 0, _CROWD[0]),
    },
    frames.GroupGet: {"large": lambda s, x, n: frames.GroupGet(_ID, _group(s))},
    frames.GroupList: {"all": lambda s, x, n: frames.GroupList(_ID)},
    frames.Block: {"and_un": lambda s, x, n: (frames.Block, frames.Unblock)[n % 2](_ID, _CROWD[0])},
    frames.Unblock: {"nobody": lambda s, x, n: frames.Unblock(_ID, f"{n}")},
    frames.Blocks: {"all": lambda s, x, n: frames.Blocks(_ID)},
    frames.RoomJoin: {
        "last": lambda s, x, n: frames.RoomJoin(_ID, s.room, 200),
        "fresh": lambda s, x, n: frames.RoomJoin(_ID, f"{x}{n}", 0),
    },
    frames.RoomLeave: {"none": lambda s, x, n: frames.RoomLeave(_ID, f"{n}")},
    frames.RoomSet: {
        "fresh": lambda s, x, n: frames.RoomSet(_ID, f"{x}{n}", "admins", tuple(_CROWD)),
    },
    frames.RoomSend: {
        "body": lambda s, x, n: frames.RoomSend(_ID, f"{x}{n}", f"r:{s.room}", "text", s.body),
        "short": lambda s, x, n: frames.RoomSend(_ID, f"{x}{n}", f"r:{s.room}", "text", b"x"),
    },
    frames.Signal: {
        "group": lambda s, x, n: frames.Signal(s.group, "typing", b"x" * 4096),
        "self": lambda s, x, n: frames.Signal(s.user, "typing", b"x"),
    },
    frames.History: {
        "own": lambda s, x, n: frames.History(_ID, s.user, 100),
        "one": lambda s, x, n: frames.History(_ID, s.user, 1),
    },
    frames.Forget: {"some": lambda s, x, n: frames.Forget(_ID, s.user, n % 10)},
    frames.Recall: {
        "group": lambda s, x, n: frames.Recall(_ID, s.small, 1 + n % (2 * TEXTS)),
        "nothing": lambda s, x, n: frames.Recall(_ID, s.user, 10_000 + n),
    },
    frames.Edit: {
        "group": lambda s, x, n: frames.Edit(_ID, s.small, 1 + n % (2 * TEXTS), s.body),
    },
    frames.Conversations: {"page": lambda s, x, n: frames.Conversations(_ID, 100)},
    frames.PresenceSet: {
        "status": lambda s, x, n: frames.PresenceSet(
            _ID, ("online", "away")[n % 2], f"{n}".ljust(128, "s")
        ),
    },
    frames.PresenceSubscribe: {
        "crowd": lambda s, x, n: frames.PresenceSubscribe(
            _ID, tuple(absent(100, f"{n % 5}")), 86_400
        ),
    },
    frames.PresenceUnsubscribe: {
        "crowd": lambda s, x, n: frames.PresenceUnsubscribe(_ID, tuple(_CROWD)),
    },
    frames.PresenceGet: {"crowd": lambda s, x, n: frames.PresenceGet(_ID, tuple(_CROWD))},
    frames.Mark: {"group": lambda s, x, n: frames.Mark(_ID, s.small, n, n)},
    frames.Receipts: {"group": lambda s, x, n: frames.Receipts(_ID, s.group, 1)},
    frames.Unread: {"all": lambda s, x, n: frames.Unread(_ID)},
}


def _tag(frame: type) -> int:
    tag = frame.__struct_config__.tag  # type: ignore[attr-defined]
    assert isinstance(tag, int)
    return tag


def _invalid(frame: type) -> dict[str, Form]:
    """A known type with a field of a wrong type, as short and as long as it can be."""
    short = msgspec.msgpack.encode([_tag(frame), _ID, {}])
    many = msgspec.msgpack.encode([_tag(frame), {}, *[0] * 60_000])
    if not frame.__struct_fields__:  # type: ignore[attr-defined]  # no field can be wrong
        return {"long": lambda s, x, n: many}
    return {"wrong": lambda s, x, n: short, "long": lambda s, x, n: many}


def _raw(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> Form:
    frame = Frame(opcode, data, fin).serialize(mask=True)
    return lambda s, x, n: Bytes(frame)


class Bytes(bytes):
    """What goes out as it is, not as a message in a frame."""


_EMPTY: Final = Frame(Opcode.CONT, b"", False).serialize(mask=True)
_FIRST: Final = Frame(Opcode.BINARY, b"\x91", False).serialize(mask=True)

EDGE: Final[dict[str, Form]] = {
    "ping": _raw(Opcode.PING),
    "ping 125": _raw(Opcode.PING, b"x" * 125),
    "pong": _raw(Opcode.PONG, b"x" * 125),
    "continuations": lambda s, x, n: Bytes(_EMPTY if n else _FIRST),
    "fragments": lambda s, x, n: Bytes(
        Frame(
            Opcode.CONT if n % 2 else Opcode.BINARY, b"\x91\x05"[n % 2 :][:1], n % 2 == 1
        ).serialize(mask=True)
    ),
    "long lengths": lambda s, x, n: Bytes(
        b"\x82\xff" + bytes(7) + b"\x02" + bytes(4) + b"\x91\x05"
    ),
    "unknown type": lambda s, x, n: b"\x92\x7b\x01",
    "rubbish": lambda s, x, n: b"\x90",
    "text": _raw(Opcode.TEXT, b"x"),
}
"""What the WebSocket protocol has besides messages, and messages that are no frames."""


def forms() -> dict[str, Form]:
    """All of them, by name."""
    table = set(get_args(frames.ClientFrame))
    assert set(VALID) == table, f"no costly form of {table ^ set(VALID)}"
    named = {
        f"{frame.__name__} {form}": make
        for frame, made in VALID.items()
        for form, make in (made | _invalid(frame)).items()
    }
    return named | {f"edge {name}": make for name, make in EDGE.items()}


def framed(message: bytes) -> bytes:
    """A message in a WebSocket frame, with a mask of zeros, which costs nothing to put on."""
    size = len(message)
    if size < 126:
        return bytes((0x82, 0x80 | size, 0, 0, 0, 0)) + message
    if size < 65536:
        return b"\x82\xfe" + size.to_bytes(2, "big") + bytes(4) + message
    return b"\x82\xff" + size.to_bytes(8, "big") + bytes(4) + message


def pieces(form: Form, stock: Stock, salt: str) -> Iterator[bytes]:
    """A flood without an end, as it goes to the socket."""
    for n in itertools.count():
        made = form(stock, salt, n)
        if isinstance(made, Bytes):
            yield made
        else:
            yield framed(made if isinstance(made, bytes) else codec.encode(made))


def block(flood: Iterator[bytes], size: int) -> bytes:
    """The next pieces of a flood, together at least `size` bytes, and the last no more than it
    takes."""
    made, length = [], 0
    while length < size:
        made.append(next(flood))
        length += len(made[-1])
    return b"".join(made)
