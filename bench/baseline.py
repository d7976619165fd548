"""The floor of a fan-out: a bare send() loop of the same frame to as many sockets.

A process accepts connections and sends to one after the other, at the pace of the load that it is
compared with; another reads, in an event loop, as the generator's clients do. What the kernel does
on loopback for a delivery is charged to the sender, here as with a gateway.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from multiprocessing.connection import Connection as Pipe
from typing import Final

import uvloop

from bench.options import BenchError

_TIMEOUT_S: Final = 30.0


def send_loop_us(sockets: int, frame: int, rate: float, seconds: float) -> float:
    """CPU microseconds of one ``send()`` of `frame` bytes.

    It is done in rounds over all `sockets`, `rate` rounds a second, for `seconds`.

    Raises:
        BenchError: the two processes did not come up.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    sender = context.Process(
        target=_send, args=(theirs, sockets, frame, rate, seconds), daemon=True
    )
    sender.start()
    theirs.close()
    reader = None
    try:
        port = _receive(ours)
        reader = context.Process(target=_read, args=(int(port), sockets), daemon=True)
        reader.start()
        return _receive(ours, seconds)
    finally:
        ours.close()
        for process in (sender, reader):
            if process is not None:
                process.kill()
                process.join()


def _receive(pipe: Pipe, seconds: float = 0) -> float:
    try:
        if pipe.poll(_TIMEOUT_S + seconds):
            return float(pipe.recv())
    except EOFError:
        pass  # it died, and said why on stderr
    raise BenchError("the bare send() loop did not come up")


def _send(pipe: Pipe, sockets: int, frame: int, rate: float, seconds: float) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=sockets)
    pipe.send(listener.getsockname()[1])
    accepted = []
    for _ in range(sockets):
        one, _ = listener.accept()
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.setblocking(False)
        accepted.append(one)
    data = bytes(frame)
    rounds = max(1, int(rate * seconds))
    begin = time.monotonic()
    used = 0.0
    for number in range(rounds):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        before = time.process_time()
        for one in accepted:
            one.send(data)
        used += time.process_time() - before
    pipe.send(used / (rounds * sockets) * 1e6)


class _Sink(asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        """Nothing is done with it."""


async def _connect(port: int, sockets: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(sockets):
        await loop.create_connection(_Sink, "127.0.0.1", port)
    await asyncio.Event().wait()


def _read(port: int, sockets: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_connect(port, sockets))
