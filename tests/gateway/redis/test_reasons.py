"""Why Redis is not there: said in the log and on the command line, with the place and no secret."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from gateway.redis import reasons
from gateway.redis.errors import OperationFailed, RedisRefused, Unavailable
from gateway.redis.reasons import Sayings, words_of
from gateway.redis.servers import CONNECT_TIMEOUT_S
from gateway.runtime.core import Core
from gateway.security.keyring import Keyring
from gateway.store import stamp
from tests.certificates import Authority
from tests.clusters import Node
from tests.conftest import REDIS
from tests.gateway.conftest import Servers
from tests.gateway.redis.conftest import Heard, node_link, node_subscriber, until
from tests.ports import free_port

IDENTITY = stamp.RegionIdentity("sg", {1: "a" * 16})
SECRET = "s3cret-pw"


async def logged(url: str) -> str:
    """The reason that a link at `url` gives, behind the place that it names."""
    link = node_link(url, IDENTITY)
    starting = asyncio.create_task(link.start())
    try:
        with capture_logs() as logs:
            await until(lambda: any(log["event"] == "redis_connect_failed" for log in logs))
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await link.aclose()
    assert SECRET not in str(logs)
    return f"{logs[0]['server']}: {logs[0]['reason']}"


async def shown(url: str, keyring: Keyring) -> OperationFailed:
    """What the command line says of it."""
    with pytest.raises(OperationFailed) as caught:
        async with Core.at(url, keyring).admin() as admin:
            await admin.apps.all()
    assert SECRET not in str(caught.value)
    return caught.value


async def both(url: str, keyring: Keyring, reason: str, kind: type[OperationFailed]) -> None:
    """Log and command line say the same."""
    assert reason in await logged(url)
    told = await shown(url, keyring)
    assert reason in str(told)
    assert type(told) is kind


@contextlib.asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[int]:
    """The port of a server that answers whatever is asked with `reply`."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                writer.write(reply)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*(task for task in serving if task is not None))


async def test_a_refused_port(keyring: Keyring) -> None:
    """Host, port, and what the system says; not the name of an exception."""
    port = free_port()
    told = f"127.0.0.1:{port}: Connection refused"
    await both(f"redis://u:{SECRET}@127.0.0.1:{port}", keyring, told, Unavailable)


async def test_an_unknown_host_and_a_missing_socket(keyring: Keyring, tmp_path: Path) -> None:
    """Each is told from a port at which nobody listens."""
    await both("redis://nowhere.invalid", keyring, "nowhere.invalid:6379: the host", Unavailable)
    path = tmp_path / "none.sock"
    await both(f"unix://{path}", keyring, f"{path}: No such file or directory", Unavailable)


async def test_a_login_that_the_server_does_not_know(servers: Servers, keyring: Keyring) -> None:
    """A wrong password, none at all, and a right that the connection itself needs: three faults,
    in the server's own words. Trying again is of no use to whoever sits at a command line."""
    port = free_port()
    server = servers("--port", str(port), "--bind", "127.0.0.1")
    with redis.Redis.from_url(server.url) as raw:
        raw.acl_setuser(
            "gw", True, passwords=[f"+{SECRET}"], categories=["+@all"], commands=["-client"]
        )
        raw.acl_setuser("default", True, passwords=["+other"], reset_passwords=True)
    at = f"127.0.0.1:{port}"
    wrong = f"{at}: WRONGPASS invalid username-password pair"
    assert wrong in await logged(f"redis://gw:{SECRET}x@{at}")
    refused = await shown(f"redis://gw:{SECRET}x@{at}", keyring)
    assert isinstance(refused, RedisRefused)
    assert (refused.place, refused.reason.split()[0]) == (at, "WRONGPASS")
    await both(f"redis://{at}", keyring, "NOAUTH Authentication required", RedisRefused)
    assert "has no permissions to run the 'client|setname' command" in await logged(
        f"redis://gw:{SECRET}@{at}"
    )


@pytest.mark.parametrize(
    ("reply", "reason", "kind"),
    [
        (
            b"-DENIED Redis is running in protected mode because protected mode is enabled and no "
            b"password is set. In this mode connections are only accepted from loopback.\r\n",
            "DENIED Redis is running in protected mode because protected mode is enabled and no "
            "password is set",
            RedisRefused,
        ),
        (
            b"-LOADING Valkey is loading the dataset in memory\r\n",
            "LOADING Valkey is loading the dataset in memory",
            Unavailable,
        ),
        (
            b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to no.\r\n",
            "MASTERDOWN Link with MASTER is down",
            Unavailable,
        ),
        # Redis mends it, or somebody does there: the command is to be tried again.
        (
            b"-NOREPLICAS Not enough good replicas to write.\r\n",
            "NOREPLICAS Not enough good replicas to write",
            Unavailable,
        ),
        (
            b"-MISCONF Valkey is configured to save RDB snapshots, but it can't persist on disk. "
            b"Commands that may modify the data set are disabled.\r\n",
            "MISCONF Valkey is configured to save RDB snapshots, but it can't persist on disk",
            Unavailable,
        ),
        (b"-ERR max number of clients reached\r\n", "max number of clients", Unavailable),
        # A server that does not know AUTH repeats what it was asked.
        (
            f"-ERR unknown command 'AUTH', with args beginning with: 'u' '{SECRET}' \r\n".encode(),
            "ERR unknown command 'AUTH'",
            RedisRefused,
        ),
        (f"-ERR no such user {SECRET}\r\n".encode(), "ERR no such user …", RedisRefused),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is no Redis", Unavailable),
    ],
    ids=[
        "DENIED",
        "LOADING",
        "MASTERDOWN",
        "NOREPLICAS",
        "MISCONF",
        "full",
        "echo",
        "echo2",
        "http",
    ],
)
async def test_what_a_server_says(
    reply: bytes, reason: str, kind: type[OperationFailed], keyring: Keyring
) -> None:
    """Its first words, never what it repeats of the log-in."""
    async with answering(reply) as port:
        await both(f"redis://u:{SECRET}@127.0.0.1:{port}", keyring, reason, kind)


def _listens(node: Node) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", node.port)):
        return True
    return False


@pytest.mark.skipif(not Path(REDIS).exists(), reason=f"{REDIS} is not installed")
async def test_tls_on_the_wrong_port(
    tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways round, and a certificate that nobody vouches for. A plain Redis says nothing to a
    TLS greeting: it waits for the end of the line."""
    monkeypatch.setattr("gateway.redis.servers.CONNECT_TIMEOUT_S", 0.5)
    authority = Authority(tmp_path / "tls", "ours")
    issued = authority.issue("server")
    settings = {
        "tls-cert-file": str(issued.cert),
        "tls-key-file": str(issued.key),
        "tls-ca-cert-file": str(authority.ca),
        "tls-auth-clients": "no",
    }
    node = Node(tmp_path, settings, binary=REDIS, tls=True)
    plain = Node(tmp_path, {}, binary=REDIS)
    try:
        node.start()
        plain.start()
        for each in (node, plain):
            await until(partial(_listens, each))
        await both(f"redis://{node.address}", keyring, "write rediss:// for redis://", Unavailable)
        await both(f"rediss://{plain.address}", keyring, "does this port speak TLS?", Unavailable)
        await both(f"rediss://{node.address}", keyring, "its certificate is refused", Unavailable)
    finally:
        node.kill()
        plain.kill()


async def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts, and is silent: a stopped process, a firewall that swallows."""
    monkeypatch.setattr("gateway.redis.servers.CONNECT_TIMEOUT_S", 0.2)
    async with answering(b"") as port:
        told = await logged(f"redis://u:{SECRET}@127.0.0.1:{port}")
        assert f"127.0.0.1:{port}: no answer in time" in told


async def test_channels_that_the_user_may_not_hear(servers: Servers) -> None:
    """The subscriber tells at once, in the server's words, and not after a timeout."""
    server = servers()
    with redis.Redis.from_url(server.url) as raw:
        raw.acl_setuser("default", True, nopass=True, commands=["-ssubscribe"])
    subscriber = node_subscriber(server.url)
    with capture_logs() as logs:
        subscriber.subscribe("hp:sg:c", Heard()).add_done_callback(asyncio.Future.cancelled)
        starting = asyncio.create_task(subscriber.start())
        async with asyncio.timeout(CONNECT_TIMEOUT_S / 2):
            await until(lambda: any(log["event"] == "redis_connect_failed" for log in logs))
    failed = next(log for log in logs if log["event"] == "redis_connect_failed")
    assert "run the 'ssubscribe' command" in failed["reason"]
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await subscriber.aclose()


async def test_the_same_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that is away for an hour is a line a minute, not one for each of a thousand attempts;
    another reason is said at once."""
    attempts = 0

    def uniform(*_: float) -> float:
        nonlocal attempts
        attempts += 1
        return 0.0

    monkeypatch.setattr("gateway.redis.connection.random.uniform", uniform)
    path = tmp_path / "redis.sock"
    link = node_link(f"unix://{path}", IDENTITY)
    with capture_logs() as logs:
        starting = asyncio.create_task(link.start())
        await until(lambda: attempts > 20)
        path.touch()
        then = attempts  # on a busy machine there may be hundreds between two looks
        await until(lambda: attempts > then + 20)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await link.aclose()
    said = [log["reason"].split(":")[0] for log in logs if log["event"] == "redis_connect_failed"]
    assert len(said) == len(set(said)) == 2


def test_it_is_said_again_after_a_minute() -> None:
    """And at once, when it was over in between."""
    sayings = Sayings()
    assert sayings.is_new("a", 0.0)
    assert not sayings.is_new("a", reasons.SAY_AGAIN_S - 1)
    assert sayings.is_new("b", 1.0)
    assert sayings.is_new("a", reasons.SAY_AGAIN_S)
    sayings.forget()
    assert sayings.is_new("a", reasons.SAY_AGAIN_S + 1)


def test_a_server_can_not_fill_the_log() -> None:
    """One line, printable, of some length; and only so many different ones."""
    assert words_of("ERR a\r\nb") == "ERR a"
    assert words_of("ERR \x1b[31m") == "ERR ?[31m"
    assert len(words_of("x" * 1000)) < 200
    sayings = Sayings()
    assert sum(sayings.is_new(str(number), 0.0) for number in range(1000)) == 20
