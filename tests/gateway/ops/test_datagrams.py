"""Datagrams between workers and the ops process."""

from __future__ import annotations

import socket
from pathlib import Path

from msgspec import msgpack
from structlog.testing import capture_logs

from gateway.ops.datagrams import MAX_BYTES, SOCKET, Ears, Mouth, Report

REPORT = Report("1", 1, "ready", 0, 0, 0.0, "", "")


def test_what_is_no_report_is_said_and_the_next_one_is_heard(tmp_path: Path) -> None:
    """Also one that is longer than any report, of which the kernel hands over the beginning."""
    ears, mouth = Ears(tmp_path), Mouth(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"nothing", str(tmp_path / SOCKET))
        stranger.sendto(msgpack.encode([REPORT] * 3000), str(tmp_path / SOCKET))
    mouth.say(REPORT)
    with capture_logs() as logs:
        assert list(ears.hear()) == [REPORT]
    assert [(line["event"], line["size"]) for line in logs] == [
        ("report_malformed", 7),
        ("report_malformed", MAX_BYTES),
    ]
    mouth.close()
    ears.close()


def test_an_ops_process_takes_the_place_of_one_that_was_killed(tmp_path: Path) -> None:
    """The socket's file of the earlier one is still there; workers need not notice."""
    mouth = Mouth(tmp_path)
    assert not mouth.say(REPORT)
    Ears(tmp_path).close()
    assert not mouth.say(REPORT)
    ears = Ears(tmp_path)
    assert mouth.say(REPORT)
    assert list(ears.hear()) == [REPORT]
    mouth.close()
    ears.close()
