"""Redis behind TLS, with client certificates and a user that may do no more than it must."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import pytest
import redis
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from structlog.testing import capture_logs

from gateway.redis.servers import Server
from gateway.redis.url import RedisUrl
from gateway.store import stamp
from tests.acl import rules_of
from tests.certificates import Authority, Issued
from tests.clusters import SLOTS, Node, wait_until
from tests.conftest import REDIS
from tests.gateway.redis.conftest import node_link, until
from tests.harness import make_settings, running_worker
from tests.scenario import everything, refusals
from tests.terminal import on_a_terminal

IDENTITY = stamp.RegionIdentity("sg", {1: "a" * 16})
PASSWORD: Final = "s3cret/one@two"
QUOTED: Final = "s3cret%2Fone%40two"

RULES: Final = rules_of("gateway")


pytestmark = pytest.mark.skipif(
    not Path(REDIS).exists(),
    reason=f"Redis 7.0 is not installed ({REDIS}): apt install redis-server",
)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom servers and gateways trust."""
    return Authority(tmp_path / "tls", "ours")


def options(authority: Authority, server: Issued) -> dict[str, str]:
    """TLS only, for clients with a certificate, and for our user alone."""
    return {
        "tls-cert-file": str(server.cert),
        "tls-key-file": str(server.key),
        "tls-ca-cert-file": str(authority.ca),
        "tls-auth-clients": "yes",
        "tls-replication": "yes",
    }


def query(authority: Authority, client: Issued | None) -> str:
    """The query of a URL that trusts `authority` and shows the certificate of `client`."""
    given = {"ssl_ca_certs": authority.ca}
    if client is not None:
        given |= {"ssl_certfile": client.cert, "ssl_keyfile": client.key}
    return urlencode(given)


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Iterator[Node]:
    """A Redis with TLS, which the packaged Valkey is built without."""
    settings = {
        **options(authority, authority.issue("server")),
        "user default": "off",
        "user homeport": f"on >{PASSWORD} {RULES}",
    }
    node = Node(tmp_path, settings, binary=REDIS, tls=True).start()
    try:
        yield node
    finally:
        node.kill()


async def failed(url: str) -> str:
    """The reason that a link at `url` gives for not coming up."""
    link = node_link(url, IDENTITY)
    starting = asyncio.create_task(link.start())
    try:
        with capture_logs() as logs:
            await until(lambda: any("reason" in log for log in logs))
        assert "s3cret" not in str(logs)
        return str(logs[0]["reason"])
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await link.aclose()


async def test_tls_with_a_client_certificate_and_an_acl_user(
    server: Node, authority: Authority, tmp_path: Path
) -> None:
    """G8: a whole gateway runs over it, and needs no command that its user may not give."""
    url = f"rediss://homeport:{QUOTED}@{server.address}/0?{query(authority, authority.issue('gw'))}"
    with capture_logs() as logs:
        async with running_worker(make_settings(url, tmp_path)) as running:
            await everything(running)
    assert refusals(logs) == []


async def test_a_cluster_with_tls_and_an_acl_user(authority: Authority, tmp_path: Path) -> None:
    """G8: the same of a cluster, to each of whose nodes we come by the address it announces. One
    node has all slots here."""
    settings = {
        **options(authority, authority.issue("server")),
        "cluster-enabled": "yes",
        "tls-cluster": "yes",
        "user default": "off",
        "user admin": "on >adm1n ~* &* +@all",
        "user homeport": f"on >{PASSWORD} {RULES}",
    }
    client = authority.issue("gw")
    node = Node(tmp_path, settings, binary=REDIS, tls=True, bus=True)
    own = query(authority, client)
    try:
        node.start()
        with redis.Redis.from_url(f"rediss://admin:adm1n@{node.address}?{own}") as admin:
            wait_until(admin.ping, "the node answers")
            admin.execute_command("CLUSTER ADDSLOTSRANGE", 0, SLOTS - 1)
            wait_until(lambda: admin.cluster("INFO")["cluster_state"] == "ok", "it has slots")
        url = f"rediss+cluster://homeport:{QUOTED}@{node.address}?{own}"
        with capture_logs() as logs:
            async with running_worker(make_settings(url, tmp_path)) as running:
                await everything(running)
        assert refusals(logs) == []
    finally:
        node.kill()


async def test_who_is_not_right_gets_no_further(server: Node, authority: Authority) -> None:
    """G8: a wrong password, no client certificate, and a server whose certificate another
    authority signed: each has its own word in the log, and none has the password."""
    client, other = authority.issue("gw"), Authority(authority.ca.parent, "theirs")
    wrong = f"rediss://homeport:wrong@{server.address}?{query(authority, client)}"
    bare = f"rediss://homeport:{QUOTED}@{server.address}?{query(authority, None)}"
    untrusting = f"rediss://homeport:{QUOTED}@{server.address}?{query(other, client)}"
    assert (await failed(wrong)).startswith("WRONGPASS")
    # A server of TLS 1.3 looks at the certificate once the client thinks that it is connected.
    assert (await failed(bare)).startswith(("Connection reset", "TLS failed", "the server closed"))
    assert (await failed(untrusting)).startswith("its certificate is refused")


async def test_a_client_key_with_a_password_is_no_question_to_a_terminal(
    authority: Authority, tmp_path: Path
) -> None:
    """G10: redis-py loads the key at each connect, in the event loop, and OpenSSL asks the terminal
    for the password of one that is encrypted."""
    ours = authority.issue("gateway")
    key = load_pem_private_key(ours.key.read_bytes(), None)
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        sealed = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret"))
        ours.key.write_bytes(sealed)
        url = f"rediss://127.0.0.1:1/0?{query(authority, ours)}"
        program = (
            "import asyncio\nfrom gateway.redis.url import RedisUrl\n"
            "from gateway.redis.servers import Server\n"
            "async def connect():\n"
            f"    connection = await Server(RedisUrl.parse({url!r}), 'test').make()\n"
            "    await connection.connect()\n"
            "try: asyncio.run(connect())\n"
            "except Exception as error: print(error)"
        )
        shown = await asyncio.to_thread(on_a_terminal, program)
        assert "it is encrypted, and nobody can be asked for its password" in shown
        assert "phrase" not in shown


async def test_a_pipe_in_the_place_of_a_file_is_a_failed_connect(
    authority: Authority, tmp_path: Path
) -> None:
    """G10: the event loop would open it, and everybody wait until somebody writes into it."""
    url = f"rediss://127.0.0.1:1/0?{query(authority, None)}"
    server = Server(RedisUrl.parse(url), "test")
    authority.ca.unlink()
    os.mkfifo(authority.ca)
    async with asyncio.timeout(10):
        with pytest.raises(OSError, match="it is a pipe, and no file"):
            await server.make()
