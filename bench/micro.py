"""What one message costs, step by step: CPU microseconds on this machine.

Run ``python -m bench.micro`` (``--json`` for scripts). Each step is the gateway's own code, with a
200-byte body. The steps with Redis start an embedded Valkey and keep 100 calls in flight; their
cost is that of this process, and the server's own is on a line of its own. A number is the best of
five rounds: what the code costs when nothing else disturbs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from homeport import codec, frames
from homeport.ids import direct_conversation, message_id
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from gateway.apps.app import App, create_app, with_key, with_new_certificate
from gateway.chat.records import Records
from gateway.dev.embedded import EmbeddedValkey
from gateway.net.framing import Framer
from gateway.redis.link import Link
from gateway.redis.opening import open_redis
from gateway.security.errors import TokenRefused
from gateway.security.jwk import read_private
from gateway.security.keyring import Keyring
from gateway.security.sealing import Kind, Sealer
from gateway.security.tokens import app_id_of, mint, verify
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry
from gateway.store.keys import Keys
from gateway.store.stamp import RegionIdentity, Stamp
from gateway.tasks import Tasks

BODY: Final = os.urandom(200)
ROUNDS: Final = 5
IN_FLIGHT: Final = 100

KEYRING: Final = Keyring("sg", {1: 0}, {1: os.urandom(32)})
APP: Final = create_app("bench", "sg", "enterprise", "global", 0)


CONVERSATION: Final = direct_conversation("alice", "bob")


def best(work: Callable[[int], object], count: int) -> float:
    """CPU microseconds of one of `count` runs; `work` does them all."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work(count)
        times.append(time.process_time() - start)
    return min(times) / count * 1e6


def repeated(step: Callable[[], object]) -> Callable[[int], None]:
    """`step`, so many times."""

    def work(count: int) -> None:
        for _ in range(count):
            step()

    return work


def in_memory() -> dict[str, float]:
    """The steps that need no Redis."""
    sender = Sealer(KEYRING)
    records = Records(sender)
    send = codec.encode(frames.Send(7, "0" * 32, "bob", "text", BODY))
    masked = Frame(Opcode.BINARY, send).serialize(mask=True)
    parser = Protocol(Side.SERVER, state=OPEN)
    framed = Framer().framed
    place = (APP, Kind.MESSAGE, CONVERSATION, b"\1" * 16)
    now_ms = time.time_ns() // 1_000_000
    sealed = sender.seal(*place, BODY, now_ms)
    message = frames.Message(b"\1" * 16, "alice", "bob", now_ms, "text", BODY)
    inner = codec.encode(message)
    record = records.make(APP, message, CONVERSATION)

    def parse() -> None:
        parser.receive_data(masked)
        assert len(parser.events_received()) == 1

    steps: dict[str, Callable[[], object]] = {
        "parse: one WebSocket frame": parse,
        "decode: a send": lambda: codec.decode_client(send),
        "message id": lambda: message_id(APP.id, "alice", "0" * 32),
        "seal: 200 bytes": lambda: sender.seal(*place, BODY, now_ms),
        "open: 200 bytes": lambda: sender.open(*place, sealed),
        "record: encode and seal": lambda: records.make(APP, message, CONVERSATION),
        "answer: ok to a send": lambda: codec.encode_ok(7, frames.Accepted(b"\1" * 16, now_ms)),
        "push: around an opened message": lambda: framed(codec.push_bytes(7, now_ms, 7, inner)),
        "push: from the record": lambda: framed(
            records.push(APP, CONVERSATION, record, number=7, ms=now_ms, seq=7)
        ),
    }
    return {name: best(repeated(step), 20_000) for name, step in steps.items()}


def of_tokens() -> dict[str, float]:
    """What a connect's token costs: found good for the first time, and refused because of its
    signature, after both keys of the app were tried."""
    now_s = int(time.time())
    certificate = APP.certificates[0]
    app = with_new_certificate(APP)
    p256, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ed, another = (ed25519.Ed25519PrivateKey.generate() for _ in range(2))
    found: dict[str, float] = {}
    for name, keys in (("ES256", (p256, other)), ("EdDSA", (ed, another))):
        privates = [read_private(_pem(key)) for key in keys]
        keyed = with_key(with_key(app, privates[1].public), privates[0].public)
        good = mint(APP.id, privates[0], "sg", "alice", now_s)
        found |= _checked(name, keyed, good, now_s)
    found |= _checked("HS256", app, mint(APP.id, certificate, "sg", "alice", now_s), now_s)
    return found


def _checked(name: str, app: App, good: str, now_s: int) -> dict[str, float]:
    head, _, signature = good.rpartition(".")
    bad = f"{head}.{signature[:8]}{'A' if signature[8] != 'A' else 'B'}{signature[9:]}"

    def accept() -> None:
        assert app_id_of(good) == app.id
        verify(good, app, now_s)

    def refuse() -> None:
        assert app_id_of(bad) == app.id
        with contextlib.suppress(TokenRefused):
            verify(bad, app, now_s)

    return {
        f"token: by {name}, good": best(repeated(accept), 2_000),
        f"token: by {name}, refused": best(repeated(refuse), 2_000),
    }


def _pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


async def with_store(url: str) -> dict[str, float]:
    """The steps that go to Redis, and what they cost there."""
    link, _ = open_redis(url, Stamp(RegionIdentity.of(KEYRING), lambda: True), Tasks())
    await link.start()
    try:
        conversations = ConversationStore(link, Keys("sg"))
        two = conversations.direct(APP.id, "alice", "bob")
        record = Records(Sealer(KEYRING)).make(
            APP, frames.Message(b"\1" * 16, "alice", "bob", 0, "text", BODY), CONVERSATION
        )

        def send() -> Awaitable[object]:
            new = NewEntry(os.urandom(16), record, time.time_ns() // 1_000_000, "alice")
            return conversations.send(APP.id, APP.tier, two, new)

        result: dict[str, float] = {}
        for name, step, count in (
            ("link: one call", lambda: link.call("PING"), 20_000),
            ("send: a direct message, stored", send, 5_000),
        ):
            result[name], result[f"{name}, in Redis"] = await _best_in_flight(link, step, count)
        return result
    finally:
        await link.aclose()


async def _best_in_flight(
    link: Link, step: Callable[[], Awaitable[object]], count: int
) -> tuple[float, float]:
    """CPU microseconds here and in Redis of one of `count` calls."""
    here, there = [], []
    for _ in range(ROUNDS):
        redis_before, before = await _redis_cpu(link), time.process_time()
        for _ in range(count // IN_FLIGHT):
            await asyncio.gather(*(step() for _ in range(IN_FLIGHT)))
        here.append(time.process_time() - before)
        there.append(await _redis_cpu(link) - redis_before)
    return min(here) / count * 1e6, min(there) / count * 1e6


async def _redis_cpu(link: Link) -> float:
    """Seconds of CPU that the server has used."""
    info = (await link.call("INFO", "cpu")).decode()
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    return float(fields["used_cpu_user"]) + float(fields["used_cpu_sys"])


def main() -> None:
    """Measure, and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    result = in_memory() | of_tokens()
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedValkey(Path(folder)) as valkey,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        result |= runner.run(with_store(valkey.url))
    if "--json" in sys.argv[1:]:
        print(json.dumps({name: round(value, 3) for name, value in result.items()}))
        return
    print("CPU microseconds each")
    for name, value in result.items():
        print(f"{value:8.2f}  {name}")


if __name__ == "__main__":
    main()
