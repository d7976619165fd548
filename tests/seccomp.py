"""A machine without IPv6, for one process and its children: seccomp(2) refuses the sockets."""

from __future__ import annotations

import platform
from typing import Final

SOCKET_CALL: Final = {"x86_64": 41, "aarch64": 198}.get(platform.machine())
"""The number of socket(2) here, or None where this module does not know it."""

NO_IPV6: Final = f"""
import ctypes, struct
_code = b"".join(struct.pack("HBBI", *each) for each in (
    (0x20, 0, 0, 0),  # load the number of the call
    (0x15, 0, 3, {SOCKET_CALL}),  # another one than socket: allow
    (0x20, 0, 0, 16),  # load its first argument, the family
    (0x15, 0, 1, 10),  # another one than AF_INET6: allow
    (0x06, 0, 0, 0x00050061),  # EAFNOSUPPORT
    (0x06, 0, 0, 0x7FFF0000),  # allow
))
_buffer = ctypes.create_string_buffer(_code)
_program = struct.pack("HP", 6, ctypes.addressof(_buffer))
_prctl = ctypes.CDLL(None).prctl
assert _prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert _prctl(22, 2, _program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
"""
"""A program's first lines, as `GatewayProcess` runs them."""
