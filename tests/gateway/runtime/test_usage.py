"""What a process says of itself is what the kernel knows."""

from __future__ import annotations

import os
import time

from gateway.runtime import usage


def test_processor_time_grows_with_work() -> None:
    """By about the time that one thread was busy, and not by the time that passed."""
    before, until = usage.cpu_s(), time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    assert usage.cpu_s() - before >= 0.05


def test_memory_that_is_taken_is_counted() -> None:
    """64 MiB more, once they are written to."""
    before = usage.resident_bytes()
    taken = bytearray(os.urandom(64)) * 2**20
    assert usage.resident_bytes() - before > 60 * 2**20
    assert len(taken) == 64 * 2**20


def test_open_files_are_counted() -> None:
    """Where the kernel says how many there are."""
    before = usage.open_files()
    reading, writing = os.pipe()
    try:
        assert usage.open_files() in ({before + 2} if before else {0})
    finally:
        os.close(reading)
        os.close(writing)
