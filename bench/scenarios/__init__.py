"""The scenarios by name. Each module holds one; `bench.options.DEFAULTS` has their options."""

from __future__ import annotations

from typing import Any, Final

from bench.run import Scenario
from bench.scenarios import beside, chat, conn, fanout, group, offline, soak, storm

SCENARIOS: Final[dict[str, Scenario]] = {
    "conn": conn.run,
    "fanout": fanout.run,
    "chat": chat.run,
    "group": group.run,
    "offline": offline.run,
    "storm": storm.run,
    "soak": soak.run,
    "beside": beside.run,
}

ALL: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("fanout", "fanout", {}),
    ("fanout, wss", "fanout", {"tls": True}),
    ("fanout, burst", "fanout", {"members": 100, "rate": 500}),
    ("chat", "chat", {}),
    ("beside", "beside", {}),
    ("group", "group", {}),
    ("offline", "offline", {}),
    ("storm", "storm", {}),
    ("conn", "conn", {}),
    ("conn, wss", "conn", {"tls": True}),
    ("soak", "soak", {"duration": 60}),
)
"""What ``all`` runs: label, scenario, and what differs from its defaults. With them it measures
every target of the gateway, in some six minutes."""

COMPARED: Final = ("fanout", "chat")
"""What ``compare`` has the peers do too."""
