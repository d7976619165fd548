"""What operators see of a gateway, and a Redis whose pub/sub alone is broken."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.harness import until
from tests.ports import free_port
from tests.system.site import DEADLINE_S


def free_address() -> str:
    """A loopback address nobody listens on."""
    return f"127.0.0.1:{free_port()}"


class Ops:
    """The ops port of one gateway."""

    def __init__(self) -> None:
        self.address = free_address()

    async def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        """The status and the body of an answer; (0, "") while nobody listens."""
        return await asyncio.to_thread(self._ask, path, method)

    def _ask(self, path: str, method: str) -> tuple[int, str]:
        url = f"http://{self.address}{path}"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, method=method), timeout=DEADLINE_S
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (urllib.error.URLError, ConnectionError):
            return 0, ""

    async def told(self, path: str) -> dict[str, Any]:
        """The JSON of an answer, whatever its status."""
        _, body = await self.ask(path)
        told = json.loads(body)
        assert isinstance(told, dict)
        return told

    async def until(self, path: str, status: int) -> dict[str, Any]:
        """Wait for `status`; returns its JSON."""

        async def is_so() -> bool:
            return (await self.ask(path))[0] == status

        await until(is_so, f"{path} to say {status}", DEADLINE_S)
        return await self.told(path)

    async def fails(self, part: str, workers: list[str]) -> None:
        """Wait until /readyz says no because of `part` in these `workers`."""

        async def is_so() -> bool:
            status, body = await self.ask("/readyz")
            if status != 503:
                return False
            problems = json.loads(body)["problems"]
            return workers == sorted(p["worker"] for p in problems if p["part"] == part)

        await until(is_so, f"/readyz to name {part} in {workers}", DEADLINE_S)

    async def gone(self) -> None:
        """Wait until nobody listens."""

        async def is_so() -> bool:
            return (await self.ask("/livez"))[0] == 0

        await until(is_so, "nobody to listen", DEADLINE_S)

    async def seconds_until_unready(self) -> float:
        """How long it takes from now until /readyz says no."""
        began = asked = time.monotonic()

        async def is_so() -> bool:
            nonlocal asked
            asked = time.monotonic()
            return (await self.ask("/readyz"))[0] == 503

        await until(is_so, "/readyz to say no", DEADLINE_S)
        return asked - began

    async def metrics(self) -> dict[str, float]:
        """Every sample, by name and label: ``homeport_session_sessions{pro}``."""
        status, text = await self.ask("/metrics")
        assert status == 200
        return samples(text)

    async def metrics_until(self, condition: Callable[[dict[str, float]], bool]) -> None:
        """Wait until the metrics are as `condition` wants them."""

        async def is_so() -> bool:
            return condition(await self.metrics())

        await until(is_so, "the metrics to be as wanted", DEADLINE_S)


def samples(text: str) -> dict[str, float]:
    """The samples of an exposition, but for the single buckets of histograms."""
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


class Proxy:
    """Stands before a Redis on a unix socket, and can hold back what its pub/sub says.

    Connections on which somebody subscribed are the ones that are held; all others go on.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server
        self.url = ""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.go_on()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self) -> None:
        """From now on pub/sub says nothing; its connections stay open."""
        self._flows.clear()

    def go_on(self) -> None:
        """Let it speak again."""
        self._flows.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there, to_redis = await asyncio.open_unix_connection(self._path)
        self._writers += (writer, to_redis)
        subscribed = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pipe(reader, to_redis, subscribed, held=False))
                group.create_task(self._pipe(there, writer, subscribed, held=True))
        except* (_Ended, ConnectionError):
            pass  # one side has gone, and the other goes with it
        finally:
            to_redis.transport.abort()
            writer.transport.abort()
            self._tasks.discard(task)

    async def _pipe(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        subscribed: asyncio.Event,
        held: bool,
    ) -> None:
        while data := await reader.read(65536):
            if b"SSUBSCRIBE\r\n" in data:  # the command: its name is in other words, too
                subscribed.set()
            if held and subscribed.is_set():
                await self._flows.wait()
            writer.write(data)
            await writer.drain()
        raise _Ended


class _Ended(Exception):
    """One side of a connection is gone."""
