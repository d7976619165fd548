"""`homeport drain`, against a supervisor's control socket and what an ops process says."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import drain as module
from gateway.runtime import runfolder
from tests.gateway.cli.conftest import run
from tests.gateway.runtime.test_control import Supervisor


def progress(state: str, left: int) -> dict[str, Any]:
    """As the ops process says it."""
    return {"state": state, "to_drain": 7, "left": left, "workers": 2}


class Ops:
    """Answers each GET /drain with the next of `told`; `done` is set once the last was told."""

    def __init__(self, told: list[dict[str, Any]]) -> None:
        self.done = threading.Event()
        ops = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = json.dumps(told[0]).encode()
                if len(told) > 1:
                    told.pop(0)
                else:
                    ops.done.set()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Answer in a thread."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


@contextmanager
def gateway(config: Path, leave: threading.Event) -> Iterator[None]:
    """A supervisor of this configuration. It goes once it was asked to, and `leave` is set."""
    over = threading.Event()
    with runfolder.run_folder() as folder:
        supervisor = Supervisor(folder, str(config))

        def serve() -> None:
            while not over.wait(0.01) and not (supervisor.drains and leave.is_set()):
                supervisor.turn()
            supervisor.control.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            supervisor.selector.close()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration without `ops_listen`; nothing of it but that and `drain_s` matters."""
    path = tmp_path / "homeport.toml"
    path.write_text(
        'region = "eu"\nredis_url = "redis://127.0.0.1:1"\nkey_file = "none"\n'
        'plain_listen = "127.0.0.1:0"\ndurability = "memory"\ndrain_s = 1\n'
    )
    return path


@pytest.fixture
def at_once() -> threading.Event:
    """For a gateway that leaves as soon as it is asked."""
    event = threading.Event()
    event.set()
    return event


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("as_json", [False, True])
def test_it_asks_shows_how_far_it_is_and_ends_with_the_gateway(
    config: Path, monkeypatch: pytest.MonkeyPatch, host: str, as_json: bool
) -> None:
    """Each change is a line, and exit code 0 follows the gateway's end. What listens everywhere is
    asked on this machine."""
    monkeypatch.setattr(module, "EVERY_S", 0.02)
    seven, two = progress("draining", 7), progress("draining", 2)
    ops = Ops([progress("ready", 0), seven, seven, two])
    config.write_text(config.read_text() + f'ops_listen = "{host}:{ops.port}"\n')
    with ops.running(), gateway(config, ops.done):
        ran = run("drain", "--config", config, *(["--json"] if as_json else []))
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    if as_json:
        assert [json.loads(line) for line in lines] == [seven, two, {"state": "gone"}]
    else:
        assert lines == [
            "draining: 7 of 7 sessions left, 2 workers",
            "draining: 2 of 7 sessions left, 2 workers",
            "gone",
        ]


def test_it_needs_no_ops_process(config: Path, at_once: threading.Event) -> None:
    """Nor one that answers: then how far it is is not shown."""
    with gateway(config, at_once):
        ran = run("drain", "--config", config)
    assert (ran.code, ran.out, ran.err) == (0, "gone\n", "")
    config.write_text(config.read_text() + 'ops_listen = "127.0.0.1:1"\n')
    with gateway(config, at_once):
        assert run("drain", "--config", config).out == "gone\n"


def test_one_that_does_not_go_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 4, once it is well past its own deadline."""
    monkeypatch.setattr(module, "SPARE_S", 0.0)
    with gateway(config, threading.Event()):
        ran = run("drain", "--config", config)
    assert ran.code == 4
    assert "still there 1 s after the drain began" in ran.err


def test_without_a_gateway_it_says_so(config: Path) -> None:
    """Exit code 4, and what else there is to do."""
    ran = run("drain", "--config", config)
    assert ran.code == 4
    assert "no gateway with this configuration runs here, or it is another user's" in ran.err


def test_several_of_one_configuration_are_not_guessed_at(
    config: Path, at_once: threading.Event
) -> None:
    """Exit code 1: none of them is drained."""
    with gateway(config, at_once), gateway(config, at_once):
        ran = run("drain", "--config", config)
    assert ran.code == 1
    assert "several gateways with this configuration run here: send SIGTERM to one of" in ran.err
