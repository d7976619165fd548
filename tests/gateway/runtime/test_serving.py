"""A worker's process: what fails outside of its tasks."""

from __future__ import annotations

import asyncio
import socket
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.config import Settings
from gateway.dev.certificates import ensure
from gateway.runtime.serving import log_fault, serve
from gateway.runtime.starting import Listening
from tests.harness import until


async def test_who_leaves_in_the_tls_handshake_is_no_fault(
    settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A health check by TCP and a port scan do: aiofastnet reported each with 40 lines on stderr,
    as it gives the loop's handler a class, which asyncio's own can't print."""
    certs = ensure(tmp_path, datetime.now(UTC))
    secure = settings.model_copy(
        update={"wss_listen": "127.0.0.1:0", "tls_cert": certs.cert, "tls_key": certs.key}
    )
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(secure, on_ready=ready.set_result))
    listening = await ready
    assert listening.wss is not None
    with capture_logs() as logs:
        for reset in (False, True):
            sock = socket.create_connection(("127.0.0.1", listening.wss.port))
            if reset:  # socket(7), SO_LINGER with no time: RST in place of FIN
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        await until(lambda: sum(entry["event"] == "connection_lost" for entry in logs) >= 1)
    faults = [entry["event"] for entry in logs if entry["log_level"] in ("error", "critical")]
    assert not faults
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert "Traceback" not in "".join(capfd.readouterr())


async def test_a_callback_that_fails_is_logged() -> None:
    """With its traceback, as one entry."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_fault)

    def fail() -> None:
        raise ValueError

    with capture_logs() as logs:
        loop.call_soon(fail)
        await until(lambda: bool(logs))
    assert [entry["event"] for entry in logs] == ["fault"]
    assert isinstance(logs[0]["exc_info"], ValueError)
