"""Reads the vectors of protocol v1; SPEC.md section 10 tells their form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from homeport import codec
from homeport.frames import ANSWERS, ClientFrame, Ok, Request, ServerFrame

_FOLDER: Final = Path(__file__).parents[2] / "protocol" / "vectors" / "v1"


def load(name: str) -> list[dict[str, Any]]:
    """The vectors of one file, `name` without its ending."""
    vectors: list[dict[str, Any]] = json.loads((_FOLDER / f"{name}.json").read_text())["vectors"]
    return vectors


def expand(hexadecimal: Any) -> bytes:
    """The bytes that digits, a `repeat`, or a list of both stand for."""
    if isinstance(hexadecimal, str):
        return bytes.fromhex(hexadecimal)
    if isinstance(hexadecimal, dict):
        digits: str
        times: int
        digits, times = hexadecimal["repeat"]
        return bytes.fromhex(digits) * times
    return b"".join(expand(part) for part in hexadecimal)


REQUESTS: Final[dict[str, type[Request[Any]]]] = {
    request.__name__.lower(): request for request in ANSWERS
}
"""Every request by its name in SPEC.md."""


def decode(vector: dict[str, Any]) -> ClientFrame | ServerFrame:
    """Decode a vector's message as the side that it is sent to."""
    receive = codec.decode_client if vector["direction"] == "client" else codec.decode_server
    return receive(expand(vector["hex"]))


def answer(vector: dict[str, Any]) -> Any:
    """Decode what the `ok` of a vector answers to its request."""
    ok = decode(vector)
    assert isinstance(ok, Ok)
    return codec.decode_answer(REQUESTS[vector["request"]], ok)
