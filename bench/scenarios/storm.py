"""A reconnect storm: everybody's connection is cut at once, and everybody comes back."""

from __future__ import annotations

from bench.result import Result
from bench.run import Run, member


def run(here: Run) -> Result:
    """Cut and connect ``--clients`` sessions again; over TLS also with the session taken up.

    Without ``--ramp`` as many are under way as the generator allows itself (64 a process), so the
    rate is what the gateway can do, and the times of a single one are not those of an open loop.
    """
    people = [
        member(index, user, token)
        for index, (user, token) in enumerate(here.users(here.options.clients))
    ]
    here.start(people)
    here.connect(name="connect, first")
    opened = _again(here, "reconnect", resume=False)
    if here.place.urls[0].startswith("wss:"):
        _again(here, "reconnect, TLS resumed", resume=True)
    outcomes = here.settle({})
    return here.result("reconnect", opened, outcomes)


def _again(here: Run, name: str, resume: bool) -> int:
    here.drop()
    before = here.settled_sample()
    found = here.connect(name=name, resume=resume)
    after = here.sample()
    opened = sum(one.opened for one in found)
    took_s = max(one.took_s for one in found)
    here.figures[f"{name}: sessions per s"] = opened / took_s
    if resume:
        here.figures[f"{name}: share"] = sum(one.resumed for one in found) / opened
    if here.place.gateway_pids:
        cpu_s = after.gateway_cpu_s - before.gateway_cpu_s
        here.figures[f"{name}: gateway us per session"] = cpu_s / opened * 1e6
        if cpu_s:
            here.figures[f"{name}: sessions per s and gateway core"] = opened / cpu_s
    if here.place.redis_pid is not None:
        cpu_s = after.redis_cpu_s - before.redis_cpu_s
        here.figures[f"{name}: redis us per session"] = cpu_s / opened * 1e6
    generator_s = after.generator_cpu_s - before.generator_cpu_s
    here.figures[f"{name}: generator us per session"] = generator_s / opened * 1e6
    return opened
