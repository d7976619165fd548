"""The answers over HTTP, without a socket: who may begin a drain, and what an answer holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from gateway.ops.board import Board
from gateway.ops.pages import pages
from gateway.ops.reports import Report


class Drains:
    """How often a drain was begun."""

    def __init__(self) -> None:
        self.begun = 0

    def __call__(self) -> None:
        self.begun += 1


@pytest.fixture
def drains() -> Drains:
    """Counts the drains."""
    return Drains()


@pytest.fixture
def app(tmp_path: Path, drains: Drains) -> Starlette:
    """The pages of a gateway with one worker, which is well."""
    (tmp_path / "metrics").mkdir()
    board = Board(1, lambda pid: True, lambda: 0.0)
    board.take(Report("1", 1, "ready", 0, 0, 0.0, ""))
    return pages(board, tmp_path, drains)


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
    return said[0]["status"], json.loads(said[1]["body"])


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_a_drain_begins_from_this_machine(app: Starlette, drains: Drains, peer: str) -> None:
    """Once: asked again, it says how far it is."""
    assert await ask(app, "/drain", "POST", peer) == (
        202,
        {"state": "draining", "to_drain": 0, "left": 0, "workers": 1},
    )
    assert (await ask(app, "/drain", "POST", peer))[0] == 202
    assert drains.begun == 1
    assert (await ask(app, "/readyz"))[0] == 503


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1", "testclient"])
async def test_a_drain_does_not_begin_from_elsewhere(
    app: Starlette, drains: Drains, peer: str
) -> None:
    """Whatever the request says of where it comes from."""
    forged = {"x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1"}
    assert (await ask(app, "/drain", "POST", peer, **forged))[0] == 403
    assert drains.begun == 0
    assert await ask(app, "/readyz", peer=peer) == (200, {"ok": True, "problems": []})


async def test_another_path_says_what_there_is(app: Starlette) -> None:
    """For whoever opens the port in a browser."""
    status, told = await ask(app, "/")
    assert status == 404
    assert told["there_is"] == ["/livez", "/readyz", "/startupz", "/metrics", "/drain"]
