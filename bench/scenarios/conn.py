"""Idle connections: how fast they open, what each costs to hold."""

from __future__ import annotations

from bench.result import Result
from bench.run import Run, member


def run(here: Run) -> Result:
    """Open ``--clients`` sessions at ``--ramp``, and hold them for ``--duration``."""
    people = [
        member(index, user, token)
        for index, (user, token) in enumerate(here.users(here.options.clients))
    ]
    here.start(people)
    before = here.settled_sample()
    opened = sum(one.opened for one in here.connect())
    connected = here.settled_sample()
    window = here.load()
    if here.place.gateway_pids:
        here.figures["gateway KiB per connection"] = (
            (window.last.gateway_rss - before.gateway_rss) / 1024 / opened
        )
        here.figures["gateway us per connection and s"] = (
            window.gateway_cpu_s / window.seconds / opened * 1e6
        )
        here.figures["gateway us per connect"] = (
            (connected.gateway_cpu_s - before.gateway_cpu_s) / opened * 1e6
        )
    if here.place.redis_pid is not None:
        here.figures["redis us per connect"] = (
            (connected.redis_cpu_s - before.redis_cpu_s) / opened * 1e6
        )
    here.figures["connections held"] = window.last.connected
    outcomes = here.settle({})
    return here.result("connection", opened, outcomes)
