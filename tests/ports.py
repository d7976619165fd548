"""Ports for servers that a test starts, stops and starts again."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from typing import Final

_PORTS: Final = (12_000, 32_000)  # below those that connections are given
_ports = itertools.count(os.getpid() * 61 % (_PORTS[1] - _PORTS[0]))


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host` that nobody listens on, and that no connection of ours is given."""
    low, high = _PORTS
    for number in _ports:
        port = low + number % (high - low)
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind((host, port))
            return port
    raise AssertionError("unreachable")
