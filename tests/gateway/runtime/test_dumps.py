"""A gateway's memory stays in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from gateway import __version__
from tests.gateway.runtime.replica import Replica, until

DUMPABLE = """
import ctypes, os
from gateway.runtime.dumps import forbid_dumps
prctl = ctypes.CDLL(None).prctl
PR_GET_DUMPABLE = 3
before = prctl(PR_GET_DUMPABLE)
forbid_dumps()
child = os.fork()
if child == 0:
    os._exit(prctl(PR_GET_DUMPABLE))
print(before, prctl(PR_GET_DUMPABLE), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_no_process_of_a_gateway_leaves_a_core_dump(replica: Replica) -> None:
    """G7 and G8: a core has the keyring, certificates and messages in clear, and so has the memory
    that another process of the same user can read."""
    process = replica.start()
    for pid in (process.pid, *process.workers):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (core,) = [line for line in limits if line.startswith("Max core file size")]
        assert core.split()[4:6] == ["0", "0"]
    os.kill(process.workers[0], signal.SIGSEGV)
    (died,) = until(lambda: replica.logged("died"))
    assert died["how"] == "by SIGSEGV"
    (starting,) = replica.logged("starting")
    assert starting["version"] == __version__
    assert process.stop() == 0


def test_children_inherit_it() -> None:
    """Workers are forked, so what the supervisor forbids itself is forbidden to them."""
    ran = subprocess.run(
        [sys.executable, "-c", DUMPABLE], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["1", "0", "0"]
