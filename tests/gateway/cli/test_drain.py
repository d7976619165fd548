"""`homeport drain`, against an HTTP server that says what an ops process says."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import drain as module
from tests.gateway.cli.conftest import Ran, run


class Ops:
    """Answers POST /drain with `status`, and each GET with the next of `progress`; then it is gone,
    as it is with ``None``, or the last one stays."""

    def __init__(self, progress: list[dict[str, Any] | None], status: int = 202) -> None:
        self._progress = progress
        self.asked: list[str] = []
        ops = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                ops.asked.append(f"POST {self.path}")
                self._answer(status, {"said": "why"})

            def do_GET(self) -> None:
                ops.asked.append(f"GET {self.path}")
                progress = ops.next()
                if progress is None:
                    threading.Thread(target=ops.server.shutdown).start()
                    self.close_connection = True  # without an answer, as of a process that ended
                else:
                    self._answer(200, progress)

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def next(self) -> dict[str, Any] | None:
        """What to say now."""
        return self._progress.pop(0) if len(self._progress) > 1 else self._progress[0]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Answer in a thread."""
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()


def drain(config: Path, port: int, *options: str, host: str = "127.0.0.1") -> Ran:
    """Run `homeport drain` for a gateway with ops on `port`."""
    text = f'ops_listen = "{host}:{port}"\ndrain_s = 1\n'
    config.write_text(config.read_text() + text)
    return run("drain", "--config", config, *options)


def progress(state: str, left: int) -> dict[str, Any]:
    """As the contract has it."""
    return {"state": state, "to_drain": 7, "left": left, "workers": 2}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration without `ops_listen`; nothing of it but that and `drain_s` matters."""
    path = tmp_path / "homeport.toml"
    path.write_text(
        'region = "eu"\nredis_url = "redis://127.0.0.1:1"\nkey_file = "none"\n'
        'plain_listen = "127.0.0.1:0"\ndurability = "memory"\n'
    )
    return path


def test_it_asks_shows_how_far_it_is_and_ends_with_the_gateway(config: Path) -> None:
    """Each change is a line; that nobody answers any more is the end, and exit code 0."""
    ops = Ops([progress("ready", 0), progress("draining", 7), progress("draining", 7),
               progress("draining", 2), None])  # fmt: skip
    with ops.running():
        ran = drain(config, ops.port)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "draining: 7 of 7 sessions left, 2 workers",
        "draining: 2 of 7 sessions left, 2 workers",
        "gone",
    ]
    assert ops.asked[0] == "POST /drain"
    assert set(ops.asked[1:]) == {"GET /drain"}


def test_for_scripts_each_line_is_json(config: Path) -> None:
    """And what listens everywhere is asked on this machine."""
    ops = Ops([progress("draining", 3), None])
    with ops.running():
        ran = drain(config, ops.port, "--json", host="0.0.0.0")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert lines == [progress("draining", 3), {"state": "gone"}]


def test_a_successor_is_not_waited_for(config: Path) -> None:
    """A service that is started anew answers on the same port; the one that was asked is gone."""
    ops = Ops([progress("draining", 3), progress("ready", 0)])
    with ops.running():
        assert drain(config, ops.port).code == 0


def test_one_that_does_not_go_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 4, once it is well past its own deadline."""
    monkeypatch.setattr(module, "SPARE_S", 0.0)
    ops = Ops([progress("draining", 3)])
    with ops.running():
        ran = drain(config, ops.port)
    assert ran.code == 4
    assert "still there 1 s after it was told to go" in ran.err


def test_what_can_not_be_asked_is_told(config: Path) -> None:
    """Without `ops_listen` (2), without a gateway (4), and where it refuses (1)."""
    ran = run("drain", "--config", config)
    assert ran.code == 2
    assert "ops_listen is not set" in ran.err
    ops = Ops([None], status=403)
    with ops.running():
        ran = drain(config, ops.port)
    assert ran.code == 1
    assert "refuses to drain: HTTP 403" in ran.err
    ran = run("drain", "--config", config)
    assert ran.code == 4
    assert f"no gateway answers at 127.0.0.1:{ops.port}" in ran.err
