"""Messages to users who are away, and how fast they drain once the users come back."""

from __future__ import annotations

from bench.options import BenchError
from bench.result import Result
from bench.run import Run, member


def run(here: Run) -> Result:
    """Queue ``--rate`` times ``--duration`` messages for ``--clients`` devices, then connect those.

    The drain is timed from the first `connected` to the last message.
    """
    count = here.options.clients
    users = here.users(2 * count)
    people = []
    for index, (user, token) in enumerate(users):
        if index < count:
            sends_to, late = users[count + index][0], False
        else:
            sends_to, late = "", True
        people.append(
            member(index, user, token, sends_to=sends_to, hears=(index % count,), late=late)
        )
    here.start(people)
    here.connect()
    here.load()
    sent = here.answers()
    filled = here.settled_sample()
    connected = here.connect(name="connect", late=True)
    outcomes = here.settle(sent)
    drained = here.sample()
    queued = sum(told.count - len(told.open) for told in sent.values())
    took_s = (
        max(one.last_ns for one in outcomes) - min(one.first_ns for one in connected if one.opened)
    ) / 1e9
    if not queued or took_s <= 0:
        raise BenchError("nothing was queued, or nothing came")
    here.figures["queued messages"] = queued
    here.figures["drained messages per s"] = queued / took_s
    if here.place.gateway_pids:
        cpu_s = drained.gateway_cpu_s - filled.gateway_cpu_s
        here.figures["gateway us per drained message"] = cpu_s / queued * 1e6
    if here.place.redis_pid is not None:
        cpu_s = drained.redis_cpu_s - filled.redis_cpu_s
        here.figures["redis us per drained message"] = cpu_s / queued * 1e6
    return here.result("drained message", queued, outcomes)
