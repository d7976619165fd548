"""The control socket, as a supervisor holds it, and how it is found."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import Settings
from gateway.runtime import control, runfolder
from gateway.runtime.control import MAX_CLIENTS, Control


class Supervisor:
    """Turns the selector by hand."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.drains = 0
        self.selector = selectors.DefaultSelector()
        self.control = Control(folder, name, self.selector, self._drain)

    def _drain(self) -> None:
        self.drains += 1

    def turn(self) -> None:
        """Do what there is to do."""
        while ready := self.selector.select(0):
            for key, _ in ready:
                key.data()


@pytest.fixture
def name(tmp_path: Path) -> str:
    """What no other gateway of this machine is called."""
    return str(tmp_path / "gateway.toml")


@pytest.fixture
def supervisor(name: str) -> Iterator[Supervisor]:
    """One with a run folder of its own."""
    with runfolder.run_folder() as folder:
        made = Supervisor(folder, name)
        try:
            yield made
        finally:
            made.control.close()
            made.selector.close()


def ended(sock: socket.socket) -> bool:
    """True once the other end has closed it."""
    sock.settimeout(0)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_it_is_found_by_its_name_and_asked(supervisor: Supervisor, name: str) -> None:
    """The connection stays until the gateway is gone, and that is how its end is seen."""
    (here,) = control.running(name)
    assert (here.folder, here.pid) == (supervisor.folder, os.getpid())
    assert control.running(name + "x") == []
    with here.ask_to_drain() as first, here.ask_to_drain() as second:
        supervisor.turn()
        assert supervisor.drains == 2
        assert not ended(first)
        supervisor.control.close()
        assert ended(first) and ended(second)
    with pytest.raises(ConnectionRefusedError):
        here.ask_to_drain()


def test_only_its_user_reaches_it(supervisor: Supervisor) -> None:
    """A port obeyed every process of the machine; the folder lets nobody else in."""
    assert supervisor.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "said", [b"", b"POST /drain HTTP/1.1\r\n\r\n", b"drain", b"drain\ndrain\n"]
)
def test_nothing_else_is_a_request(supervisor: Supervisor, said: bytes) -> None:
    """What it does not know ends the connection, and does nothing."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(supervisor.folder / "control.sock"))
        supervisor.turn()
        if said:
            sock.sendall(said)
        else:
            sock.shutdown(socket.SHUT_WR)
        supervisor.turn()
        assert ended(sock)
    assert supervisor.drains == 0


def test_those_who_say_nothing_keep_nobody_out_for_long(supervisor: Supervisor, name: str) -> None:
    """There are so many connections and no more, and one that ends makes room."""
    silent = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CLIENTS)]
    for sock in silent:
        sock.connect(str(supervisor.folder / "control.sock"))
        supervisor.turn()
    assert len(supervisor.control.descriptors) == 1 + MAX_CLIENTS
    (here,) = control.running(name)
    with here.ask_to_drain() as late:
        supervisor.turn()
        assert ended(late)
    silent.pop().close()
    supervisor.turn()
    with here.ask_to_drain():
        supervisor.turn()
    assert supervisor.drains == 1
    for sock in silent:
        sock.close()


def test_one_that_was_killed_is_not_found(
    supervisor: Supervisor, name: str, tmp_path: Path
) -> None:
    """Its folder is there until the next start, and nobody holds its lock."""
    left = runfolder.MEMORY / f"homeport-run-{os.getuid()}-{os.getpid()}-left"
    left.mkdir(0o700)
    try:
        for file in supervisor.folder.glob("*.json"):
            (left / file.name).write_bytes(file.read_bytes())
        assert [here.folder for here in control.running(name)] == [supervisor.folder]
    finally:
        runfolder.sweep()
    assert not left.exists()


def test_a_deep_folder_is_no_hindrance(tmp_path: Path, name: str) -> None:
    """A socket's path has 107 bytes (unix(7)), and TMPDIR may lie as deep as it likes."""
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    made = Supervisor(deep, name)
    with control.Running(deep, os.getpid()).ask_to_drain():
        made.turn()
        assert made.drains == 1
    made.control.close()
    made.selector.close()


def test_a_name_is_the_file_or_what_is_set(settings: Settings, tmp_path: Path) -> None:
    """Two gateways of one machine are told apart, and a live change of a setting hides neither."""
    (tmp_path / "link").symlink_to(tmp_path / "gateway.toml")
    named = control.name_of(settings, tmp_path / "link")
    assert named == str(tmp_path / "gateway.toml")
    assert control.name_of(settings, None) == "sg - 127.0.0.1:0 -"
    other = settings.model_copy(update={"ops_listen": "127.0.0.1:9600"})
    assert control.name_of(other, None) == "sg - 127.0.0.1:0 127.0.0.1:9600"
