"""CPU and memory of processes on this machine, from /proc, and who listens on a port."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")
_LISTEN: Final = "0A"


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since a process began, its children's included, and resident bytes."""

    cpu_s: float
    rss: int


def usage(pid: int) -> Usage | None:
    """What process `pid` and its descendants use; None where it is gone.

    CPU comes in steps of a clock tick, 10 ms on most machines.
    """
    found = _one(pid)
    if found is None:
        return None
    for child in _children(pid):
        below = usage(child)
        if below is not None:
            found = Usage(found.cpu_s + below.cpu_s, found.rss + below.rss)
    return found


def _one(pid: int) -> Usage | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
        status = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    cpu_s = (int(fields[11]) + int(fields[12])) * _TICK_S
    rss = 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            rss = int(line.split()[1]) * 1024
    return Usage(cpu_s, rss)


def _children(pid: int) -> list[int]:
    result: list[int] = []
    with contextlib.suppress(OSError):
        for task in (_PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                result += map(int, (task / "children").read_text().split())
    return result


def listener_pids(host: str, port: int) -> tuple[int, ...]:
    """The processes of ours that listen on `port`, where `host` is this machine.

    A gateway's workers each have a socket of their own there.
    """
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, port)}
    except OSError:
        return ()
    if not any(_is_here(str(address)) for address in addresses):
        return ()
    sockets = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    found = []
    for folder in _PROC.iterdir():
        if folder.name.isdecimal() and (held := sockets & _open_files(folder)):
            found.append(int(folder.name))
            sockets -= held  # one that children share counts once: usage() sees to them
    return tuple(sorted(found))


def _is_here(address: str) -> bool:
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return True
    try:
        with socket.create_server((address, 0)):
            return True
    except OSError:
        return False


def _open_files(folder: Path) -> set[str]:
    result = set()
    with contextlib.suppress(OSError):  # not ours, or gone meanwhile
        for entry in (folder / "fd").iterdir():
            with contextlib.suppress(OSError):
                result.add(str(entry.readlink()))
    return result


def machine_cpu() -> tuple[float, float]:
    """CPU seconds of all cores since the machine began: idle, and in all (proc(5), /proc/stat)."""
    fields = (_PROC / "stat").read_text().splitlines()[0].split()[1:9]
    values = [int(field) * _TICK_S for field in fields]
    return values[3] + values[4], sum(values)
