"""For hours: direct messages on connections that break and resume, and a room beside them."""

from __future__ import annotations

from bench.options import UsageError
from bench.result import Result
from bench.run import Run, member


def run(here: Run) -> Result:
    """As chat with ``--clients``, of whom one is cut off four times a second and resumes.

    A room of ``--members`` goes on all the while. What counts is that nothing is lost, doubled or
    reordered, and that memory does not grow.
    """
    options = here.options
    if options.clients < 2:
        raise UsageError("soak needs --clients of 2 or more")
    pairs = options.clients // 2 * 2
    users = here.users(pairs + options.members)
    room = f"bench-soak-{options.start_id}"
    people = []
    for index, (user, token) in enumerate(users):
        if index < pairs:
            sender = index - index % 2
            sends_to = users[index + 1][0] if index == sender else ""
            who = member(index, user, token, sends_to=sends_to, hears=(sender,), churns=True)
        else:
            sends_to = f"r:{room}" if index == pairs else ""
            who = member(index, user, token, sends_to=sends_to, hears=(pairs,), room=room)
        people.append(who)
    here.start(people)
    here.connect()
    here.prepare()
    window = here.load()
    outcomes = here.settle(here.answers())
    here.cost(window, "message", window.accepted)
    if here.place.gateway_pids:
        grown = window.last.gateway_rss - window.first.gateway_rss
        here.figures["gateway MiB at the start"] = window.first.gateway_rss / 2**20
        here.figures["gateway MiB grown an hour"] = grown / 2**20 / (window.seconds / 3600)
    return here.result("message", window.accepted, outcomes)
