"""The answers over HTTP, without a socket, and what an answer holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from gateway import __version__
from gateway.ops.board import Board
from gateway.ops.datagrams import Report
from gateway.ops.pages import pages
from gateway.ops.totals import Totals


@pytest.fixture
def app(tmp_path: Path) -> Starlette:
    """The pages of a gateway with one worker, which is well."""
    board = Board(1, lambda: 0.0)
    board.take(Report("1", 1, "ready", 0, 0, 0.0, "", ""))
    return pages(board, Totals(tmp_path))


async def ask(
    app: Starlette, path: str, method: str = "GET", peer: str = "127.0.0.1", **headers: str
) -> tuple[int, Any]:
    """One request, as an ASGI server hands it on. Returns the status and the JSON."""
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": (peer, 1),
        "server": ("127.0.0.1", 9600),
        "scheme": "http",
    }
    await app(scope, receive, send)
    body = said[1]["body"]
    is_json = (b"content-type", b"application/json") in said[0]["headers"]
    return said[0]["status"], json.loads(body) if is_json else body.decode()


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.1.2.3"])
async def test_no_request_begins_a_drain(app: Starlette, peer: str) -> None:
    """A port obeys every process of the machine, and every page in a browser there: a POST without
    any secret, of whatever origin, had the gateway leave, and it stayed away."""
    assert (await ask(app, "/drain", "POST", peer))[0] == 405
    assert await ask(app, "/drain", peer=peer) == (
        200,
        {"state": "ready", "to_drain": 0, "left": 0, "workers": 1},
    )
    assert await ask(app, "/readyz", peer=peer) == (200, {"ok": True, "problems": []})


async def test_another_path_says_what_there_is(app: Starlette) -> None:
    """For whoever opens the port in a browser."""
    status, told = await ask(app, "/")
    assert status == 404
    assert told["there_is"] == ["/livez", "/readyz", "/startupz", "/metrics", "/drain"]


async def test_metrics_tell_the_version(app: Starlette) -> None:
    """In a roll-out somebody asks which gateway is what."""
    status, told = await ask(app, "/metrics")
    assert status == 200
    assert f'homeport_build_info{{version="{__version__}"}} 1.0' in told
