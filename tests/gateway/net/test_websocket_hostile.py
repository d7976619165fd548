"""Every hostile vector against a real gateway, before connect and after, while others talk on."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from homeport import codes, frames
from homeport.limits import MAX_CONNECT_BYTES, MAX_FRAME_BYTES

from gateway.apps.app import App, create_app
from gateway.runtime.core import Core
from gateway.security import tokens
from gateway.security.keyring import Keyring
from tests.harness import RawClient, make_settings
from tests.processes import GatewayProcess
from tests.protocol import vectors

ROUNDS: Final = 3
TOLERANCE_BYTES: Final = 5 * 1024 * 1024
USERS: Final = ("mallory-4711", "bystander-4711")
BODY: Final = "nobody-may-read-this"


class Gateway:
    """One `homeport serve`, with one app."""

    def __init__(self, process: GatewayProcess, app: App, log: Path) -> None:
        self.process = process
        self.app = app
        self.log = log
        now = app.created_ms / 1000
        # Many, because one user is let in once a second in the long run (HP-17.3-1).
        self._hostile = [
            tokens.mint(app.id, app.certificates[0], "sg", f"{USERS[0]}-{number}", now)
            for number in range(100)
        ]
        self._turn = itertools.cycle(self._hostile)
        self.bystander = tokens.mint(app.id, app.certificates[0], "sg", USERS[1], now)

    @property
    def hostile(self) -> str:
        """A token of the next hostile user."""
        return next(self._turn)

    @property
    def secrets(self) -> list[str]:
        """What no log may show: the parts of the tokens, and the certificates."""
        parts = [part for token in (*self._hostile, self.bystander) for part in token.split(".")]
        return [*parts, *self.app.certificates]

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.process.urls[0].rstrip("/") + "/v1"

    def resident_bytes(self) -> int:
        """How much memory its worker holds (proc(5), statm)."""
        (worker,) = self.process.workers
        pages = int(Path(f"/proc/{worker}/statm").read_text().split()[1])
        return pages * 4096


@pytest.fixture
def gateway(redis_url: str, tmp_path: Path, clock: Any) -> Iterator[Gateway]:
    """A gateway in a process of its own, whose memory can be told from the test's."""
    settings = make_settings(redis_url, tmp_path)
    app = create_app("test", "sg", "pro", "global", clock.ms)

    async def register() -> None:
        keyring = Keyring.load(settings.key_file, "sg")
        async with Core.at(redis_url, keyring).admin() as admin:
            await admin.apps.create(app, clock.ms)

    asyncio.run(register())
    config = tmp_path / "homeport.toml"
    config.write_text(
        'region = "sg"\ndurability = "memory"\nplain_listen = "127.0.0.1:0"\n'
        "workers = 1\n"
        f'redis_url = "{redis_url}"\nkey_file = "{settings.key_file}"\n'
    )
    process = GatewayProcess(config, tmp_path / "gateway.log").start()
    try:
        yield Gateway(process, app, tmp_path / "gateway.log")
    finally:
        process.stop()


async def bystander_talks(client: RawClient) -> None:
    """Someone else of the same process sends to himself, and gets it."""
    number = client.request_id()
    await client.send(frames.Send(number, os.urandom(8).hex(), USERS[1], "text", BODY.encode()))
    answers = [await client.receive(), await client.receive()]
    assert {type(answer) for answer in answers} == {frames.Ok, frames.Push}
    for answer in answers:
        if isinstance(answer, frames.Push):
            await client.send(frames.Ack(answer.number))


async def refused_by(gateway: Gateway, connected: bool) -> int:
    """Send every vector; returns how many there were."""
    limit = MAX_FRAME_BYTES if connected else MAX_CONNECT_BYTES
    hostile = [v for v in vectors.load("hostile") if v["direction"] == "client"]
    async with RawClient.open(gateway.url) as bystander:
        await bystander.connect(gateway.bystander)
        kept = [v for v in hostile if v["error"] != "malformed"]
        for at in range(0, len(kept), 50):
            await _answered_and_kept(gateway, connected, kept[at : at + 50])
            await bystander_talks(bystander)
        for at, vector in enumerate(v for v in hostile if v["error"] == "malformed"):
            message = vectors.expand(vector["hex"])
            code = codes.BAD_FRAME.number if len(message) <= limit else 1009
            async with RawClient.open(gateway.url) as client:
                if connected:
                    await client.connect(gateway.hostile)
                await client.send(message)
                assert await client.closed() == code, vector["name"]
                if code == codes.BAD_FRAME.number:
                    assert await client.close_reason() != ""
            if at % 50 == 0:
                await bystander_talks(bystander)
    return len(hostile)


async def _answered_and_kept(gateway: Gateway, connected: bool, some: list[dict[str, Any]]) -> None:
    """On one connection; before connect on one each, which then waits: it has paid with all that it
    had (HP-17.4-1)."""
    if connected:
        await _answered(gateway, connected, some)
    else:
        await asyncio.gather(*(_answered(gateway, connected, [vector]) for vector in some))


async def _answered(gateway: Gateway, connected: bool, some: list[dict[str, Any]]) -> None:
    async with RawClient.open(gateway.url) as client:
        if connected:
            await client.connect(gateway.hostile)
        for vector in some:
            await client.send(vectors.expand(vector["hex"]))
            error = await client.until(frames.Error)  # its own messages come between
            code = getattr(codes, vector["error"].upper()).number
            assert (error.id, error.code) == (vector["id"], code), vector["name"]
        if connected:
            assert isinstance(await client.say(USERS[0], BODY), frames.Ok)
        else:
            await client.connect(gateway.hostile)


@pytest.mark.timeout(300)  # some 23,000 exchanges; more with each frame of the protocol
def test_hostile_input_is_refused_and_leaves_nothing_behind(gateway: Gateway) -> None:
    """HP-4.2-1 to HP-4.2-5, HP-4.4-1, HP-2.3-3 and HP-2.3-4, for every hostile vector.

    Twice each: before connect and after. The right error and the connection kept, or the right
    close code; another session sends and receives throughout; the process' memory is where it was
    after the first round; its log has no traceback, no token, no user and no body.
    """

    async def round_() -> int:
        return await refused_by(gateway, False) + await refused_by(gateway, True)

    assert asyncio.run(round_()) > 600
    before = gateway.resident_bytes()
    for _ in range(ROUNDS):
        asyncio.run(round_())
    assert gateway.resident_bytes() - before < TOLERANCE_BYTES
    log = gateway.log.read_text()
    assert "refused" in log  # it was not silenced
    for secret in ("Traceback", '"exception"', *USERS, BODY, *gateway.secrets):
        assert secret not in log
