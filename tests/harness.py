"""What tests of a running gateway share: clocks that stand still, a raw client, a worker to start.

The gateway is the real one, over real sockets and a real store. `running_worker` runs it in this
process, which makes its clock a test's own; `tests.processes` runs ``homeport serve``, which can be
killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from homeport import codec, codes, frames
from homeport.limits import PATH, SUBPROTOCOL
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.apps.app import App, create_app
from gateway.clock import Clock
from gateway.config import Settings
from gateway.dev.certificates import DevCerts
from gateway.runtime.core import Core
from gateway.runtime.starting import Listening
from gateway.runtime.worker import Worker
from gateway.security import tokens
from gateway.security.keyring import Keyring
from gateway.store.admin import Admin
from tests.inside import Inside

ANSWER_S = 10.0
"""How long a test waits for what must come. Generous, because nothing is measured by it."""

POLL_S = 0.002
"""How long `until` waits between two looks."""


_F = TypeVar("_F")


class FakeClock:
    """Both clocks of a gateway, moved by hand. It starts at the real time.

    Whoever sleeps by it is awake at once; `slept` has for how long, in seconds.
    """

    def __init__(self) -> None:
        self.now = float(int(time.time()))
        self.steady = 1000.0
        self.slept: list[float] = []

    def clock(self) -> Clock:
        """The clock to give to a worker."""
        return Clock(wall=lambda: self.now, steady=lambda: self.steady, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        self.slept.append(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        self.now += seconds
        self.steady += seconds

    @property
    def ms(self) -> int:
        """The wall clock, as `Clock.wall_ms` tells it."""
        return int(self.now * 1000)


async def until(condition: Callable[[], Any], what: str = "", within: float = ANSWER_S) -> Any:
    """Wait for `condition`, where nothing is sent that could be waited for; returns what it said.

    It may be asynchronous. Where it does not hold `within` seconds, the failure says `what` was
    waited for, or else shows the condition's source.
    """
    too_late = time.monotonic() + within
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if time.monotonic() > too_late:
            what = what or inspect.getsource(condition).strip()
            raise AssertionError(f"waited {within:g} s in vain for: {what} (it is {found!r})")
        await asyncio.sleep(POLL_S)


class RawClient:
    """A client that says exactly what a test tells it to, and nothing by itself."""

    connected: frames.Connected
    """What the server said, once `connect` is done."""
    user = ""
    """Who it is, where `RunningWorker.client` made it."""

    passed: list[frames.ServerFrame]
    """What came before answers to requests, and was not taken by `next` yet."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.passed = []
        self._next_id = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str, **options: Any) -> AsyncIterator[Self]:
        """Do the opening handshake only. `options` go to `websockets.asyncio.client.connect`."""
        options.setdefault("subprotocols", [SUBPROTOCOL])
        async with connect(
            url, compression=None, ping_interval=None, proxy=None, close_timeout=1, **options
        ) as websocket:
            yield cls(websocket)

    def request_id(self) -> int:
        """A fresh request id."""
        self._next_id += 1
        return self._next_id

    async def send(self, frame: frames.ClientFrame | bytes | str) -> None:
        """Send a frame, or any message at all."""
        data = frame if isinstance(frame, bytes | str) else codec.encode(frame)
        await self.websocket.send(data)

    async def receive(self) -> frames.ServerFrame:
        """The next frame, whatever it is."""
        async with asyncio.timeout(ANSWER_S):
            data = await self.websocket.recv()
        assert isinstance(data, bytes)
        return codec.decode_server(data)

    async def expect(self, kind: type[_F]) -> _F:
        """The next frame, which must be of `kind`."""
        frame = await self.receive()
        assert isinstance(frame, kind), frame
        return frame

    async def until(self, kind: type[_F] | tuple[type[_F], ...]) -> _F:
        """The next frame of `kind`; others before it are passed over."""
        while True:
            frame = await self.receive()
            if isinstance(frame, kind):
                return frame

    async def next(self, kind: type[_F] | tuple[type[_F], ...]) -> _F:
        """As `until`, and looks first through what came before answers."""
        for frame in self.passed:
            if isinstance(frame, kind):
                self.passed.remove(frame)
                return frame
        return await self.until(kind)

    async def answer(
        self, request: type[frames.Request[Any]], *fields: Any, **more: Any
    ) -> frames.Ok | frames.Error:
        """Send a request of these fields, which follow its id, and return its ok or error."""
        request_id = self.request_id()
        await self.websocket.send(codec.encode(request(request_id, *fields, **more)))
        while True:
            frame = await self.receive()
            if isinstance(frame, frames.Ok | frames.Error) and frame.id == request_id:
                return frame
            self.passed.append(frame)

    async def ask(
        self, request: type[frames.Request[frames.Answer]], *fields: Any, **more: Any
    ) -> frames.Answer:
        """As `answer`, of what must be answered with ok; returns what it says."""
        answer = await self.answer(request, *fields, **more)
        assert isinstance(answer, frames.Ok), answer
        return codec.decode_answer(request, answer)

    async def refused(
        self, request: type[frames.Request[Any]], *fields: Any, **more: Any
    ) -> codes.ErrorCode:
        """As `answer`, of what must be refused; returns why."""
        answer = await self.answer(request, *fields, **more)
        assert isinstance(answer, frames.Error), answer
        return codes.ERRORS[answer.code]

    async def connect(
        self, token: str | None, device: str = "d1", **fields: Any
    ) -> frames.Connected:
        """Send connect and expect connected."""
        await self.send(frames.Connect(self.request_id(), device, token, **fields))
        self.connected = await self.expect(frames.Connected)
        return self.connected

    async def say(
        self, to: str, text: str, client_id: str | None = None
    ) -> frames.Ok | frames.Error:
        """Send a text message and return its answer."""
        name = client_id or f"c-{os.urandom(8).hex()}"
        return await self.answer(frames.Send, name, to, "text", text.encode())

    async def closed(self) -> int:
        """The code that the server closes with; frames before it are passed over."""
        async with asyncio.timeout(ANSWER_S):
            try:
                while True:
                    await self.websocket.recv()
            except ConnectionClosed as error:
                return error.rcvd.code if error.rcvd is not None else 1006

    async def close_reason(self) -> str:
        """The reason of the close; call `closed` first."""
        return self.websocket.close_reason or ""


def accepted(answer: frames.Ok | frames.Error) -> frames.Accepted:
    """What a send was answered with, which must be ok."""
    assert isinstance(answer, frames.Ok), answer
    return codec.decode_answer(frames.Send, answer)


@dataclass
class RunningWorker:
    """A gateway in this process."""

    worker: Worker
    listening: Listening
    app: App
    clock: FakeClock | None
    keyring: Keyring
    redis_url: str

    @property
    def url(self) -> str:
        """The plain listener's."""
        return f"ws://{self.listening.plain}{PATH}"

    @property
    def wss_url(self) -> str:
        """The TLS listener's."""
        assert self.listening.wss is not None
        return f"wss://localhost:{self.listening.wss.port}{PATH}"

    @property
    def inside(self) -> Inside:
        """What tests may know of the worker's inside."""
        return Inside(self.worker)

    def token(self, user: str, app: App | None = None, **claims: Any) -> str:
        """A token for `user`, issued now by the gateway's clock."""
        app = app or self.app
        now = claims.pop("now_s", self.clock.now if self.clock else time.time())
        return tokens.mint(app.id, app.certificates[0], app.region, user, now, **claims)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and have the gateway do at once what is due by then."""
        assert self.clock is not None
        self.clock.advance(seconds)
        self.inside.wheel.advance(self.clock.steady)

    @contextlib.asynccontextmanager
    async def client(
        self, user: str, device: str = "d1", **fields: Any
    ) -> AsyncIterator[RawClient]:
        """A connected client."""
        async with RawClient.open(self.url) as client:
            client.user = user
            await client.connect(self.token(user), device, **fields)
            yield client

    async def under_way(self, client: RawClient) -> list[frames.ServerFrame]:
        """What came to `client` and was not read, and what this gateway has under way to it.

        A signal follows it on its way, through Redis; a pong would overtake what is not heard yet.
        """
        await self.inside.saved()
        mark, found = f"marker-{os.urandom(4).hex()}", list[frames.ServerFrame]()
        async with self.client(mark) as marker:
            await marker.send(frames.Signal(client.user, mark, b""))
            while True:
                frame = await client.receive()
                if isinstance(frame, frames.Signaled) and frame.kind == mark:
                    return found
                found.append(frame)

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[Admin]:
        """The region's admin."""
        async with Core.at(self.redis_url, self.keyring).admin() as admin:
            yield admin


def make_settings(redis_url: str, folder: Path, region: str = "sg", **changes: Any) -> Settings:
    """Settings of a gateway with a plain listener on a free loopback port, and its key file."""
    key_file = folder / f"{region}.keys.json"
    if not key_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        Keyring.create(key_file, region)
    fields: dict[str, Any] = {
        "region": region,
        "redis_url": redis_url,
        "durability": "memory",
        "key_file": key_file,
        "plain_listen": "127.0.0.1:0",
        "workers": 1,
        **changes,
    }
    return Settings(**fields)


def make_secure_settings(redis_url: str, folder: Path, certs: DevCerts, **changes: Any) -> Settings:
    """As `make_settings`, with a WSS listener beside the plain one."""
    return make_settings(
        redis_url,
        folder,
        wss_listen="127.0.0.1:0",
        tls_cert=certs.cert,
        tls_key=certs.key,
        **changes,
    )


@contextlib.asynccontextmanager
async def running_worker(
    settings: Settings,
    *,
    tier: str = "pro",
    clock: FakeClock | None = None,
    app: App | None = None,
    folder: Path | None = None,
    kind: type[Worker] = Worker,
) -> AsyncIterator[RunningWorker]:
    """Run a gateway with one app of `tier`, or with an `app` that was registered before.

    With the run folder of a supervisor, `folder`, it counts and reports there. It is of `kind`.
    """
    keyring = Keyring.load(settings.key_file, settings.region)
    now_ms = clock.ms if clock else int(time.time() * 1000)
    if app is None:
        app = create_app("test", settings.region, tier, "global", now_ms)
        async with Core.at(settings.redis_url, keyring).admin() as admin:
            await admin.apps.create(app, now_ms)
    worker = kind(settings, clock.clock() if clock else None, folder=folder, name="1")
    try:
        listening = await worker.start()
        yield RunningWorker(worker, listening, app, clock, keyring, settings.redis_url)
    finally:
        await worker.stop()


def client_tls(ca: Path) -> ssl.SSLContext:
    """A client's TLS context that trusts `ca` only."""
    return ssl.create_default_context(cafile=str(ca))
