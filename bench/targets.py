"""What the gateway is meant to reach, and whether results of ``all`` show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from bench.result import Result

_Results = Mapping[str, Result]


class Target(Struct, frozen=True):
    """One target. `found` reads results by their label; None where they don't say.

    `limit` is the most, or where `least` is set the least, that `found` may be.
    """

    name: str
    found: Callable[[_Results], float | None]
    limit: float
    least: bool = False

    def met(self, value: float) -> bool:
        """Whether `value` is good enough."""
        return value >= self.limit if self.least else value <= self.limit


def _figure(label: str, name: str) -> Callable[[_Results], float | None]:
    def found(results: _Results) -> float | None:
        return results[label].figures.get(name) if label in results else None

    return found


def _delivery_ms(label: str, percentile: str) -> Callable[[_Results], float | None]:
    def found(results: _Results) -> float | None:
        latency = results[label].latency.get("delivery") if label in results else None
        return None if latency is None else latency.percentiles[percentile] / 1000

    return found


def _burst(results: _Results) -> float | None:
    name = "gateway us per delivery"
    burst, even = (_figure(label, name)(results) for label in ("fanout, burst", "fanout"))
    return None if burst is None or not even else burst / even


def _start(results: _Results) -> float | None:
    times = [one.figures.get("gateway start s") for one in results.values()]
    return min((time for time in times if time is not None), default=None)


_FLOOR: Final = "gateway CPU to a bare send() loop"
_CORE: Final = "sessions per s and gateway core"
_IDLE: Final = "gateway us per connection and s"
_KIB: Final = "gateway KiB per connection"

TARGETS: Final = (
    Target("room of 1,000, 50 msg/s: CPU to a bare send() loop", _figure("fanout", _FLOOR), 1.25),
    Target("the same over WSS, to the same plain loop", _figure("fanout, wss", _FLOOR), 1.6),
    Target("room of 100, 500 msg/s: CPU per delivery to the first", _burst, 0.4),
    Target("chat: gateway us a message", _figure("chat", "gateway us per message"), 70),
    Target("chat: Redis us a message", _figure("chat", "redis us per message"), 60),
    Target("chat: p50, ms", _delivery_ms("chat", "p50"), 2),
    Target("chat: p99, ms", _delivery_ms("chat", "p99"), 8),
    Target("1:1 beside a room of 10,000 at load: p99, ms", _delivery_ms("beside", "p99"), 20),
    Target(
        "group of 1,000: gateway us a delivery", _figure("group", "gateway us per delivery"), 25
    ),
    Target("idle connection: KiB", _figure("conn", _KIB), 12),
    Target("idle connection, WSS: KiB", _figure("conn, wss", _KIB), 40),
    Target("idle connection: us a second", _figure("conn", _IDLE), 5),
    Target(
        "storm over WSS: sessions/s a gateway core", _figure("storm", f"reconnect: {_CORE}"), 900,
        least=True,
    ),
    Target(
        "storm, TLS resumed: sessions/s a gateway core",
        _figure("storm", f"reconnect, TLS resumed: {_CORE}"), 2000, least=True,
    ),
    Target(
        "offline drain of 10,000: msg/s", _figure("offline", "drained messages per s"), 50_000,
        least=True,
    ),
    Target("start to accepting, best of the run: s", _start, 1),
)  # fmt: skip


def judged(results: list[Result]) -> list[tuple[Target, float]]:
    """The targets that `results` say something about, with what was found."""
    by_label = {result.label: result for result in results}
    found = [(target, target.found(by_label)) for target in TARGETS]
    return [(target, value) for target, value in found if value is not None]
