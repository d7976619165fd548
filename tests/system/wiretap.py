"""Listening in: every byte between gateways and their Redis, and who else they speak to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path


def forms(secret: bytes) -> list[bytes]:
    """How it might be found: as it is, in hexadecimal digits, in base64."""
    return [secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")[:-1]]


def holds(content: bytes, secret: bytes) -> bool:
    """Whether `secret` is in `content`, in one of its forms."""
    return any(form in content for form in forms(secret))


class Wiretap:
    """A way to a Unix socket that keeps what goes by, in both directions. It lives in the test's
    loop; gateways are given its `url` in place of their Redis'."""

    def __init__(self, socket: Path) -> None:
        self.seen = bytearray()
        self.port = 0
        self._socket = socket
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Wiretap]:
        """Listen until the end of the block."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.gather(*self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        back_reader, back_writer = await asyncio.open_unix_connection(str(self._socket))
        self._writers |= {writer, back_writer}
        await asyncio.gather(self._pipe(reader, back_writer), self._pipe(back_reader, writer))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either end is gone; then so is the other."""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.seen += data
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


def tcp_ports(pids: Iterable[int]) -> set[tuple[int, int]]:
    """(local, remote) port of each TCP connection that these processes have: proc(5),
    ``/proc/net/tcp``, whose state 01 is ESTABLISHED."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                target = str(link.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[len("socket:[") : -1])
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[3] == "01":
                local, remote = (int(fields[i].rpartition(":")[2], 16) for i in (1, 2))
                found.add((local, remote))
    return found
