"""Direct messages beside a large room at load: does a fan-out to thousands hold others up?"""

from __future__ import annotations

from bench.options import UsageError
from bench.result import Result
from bench.run import Run, member


def run(here: Run) -> Result:
    """As chat with ``--clients``, while somebody speaks in a room of ``--members``.

    Everybody who sends does so as often: of ``--rate``, the room gets the share of one sender. Only
    the direct messages are timed, and their clients have a generator process of their own.
    """
    options = here.options
    if options.clients < 2:
        raise UsageError("beside needs --clients of 2 or more")
    pairs = options.clients // 2 * 2
    users = here.users(pairs + options.members)
    room = f"bench-beside-{options.start_id}-{options.seed}"
    people, crowd = [], []
    for index, (user, token) in enumerate(users):
        if index < pairs:
            sender = index - index % 2
            sends_to = users[index + 1][0] if index == sender else ""
            people.append(member(index, user, token, sends_to=sends_to, hears=(sender,)))
        else:
            sends_to = f"r:{room}" if index == pairs else ""
            fields = {"sends_to": sends_to, "hears": (pairs,), "room": room, "timed": False}
            crowd.append(member(index, user, token, **fields))
    here.start(crowd, apart=people)
    here.connect()
    here.prepare()
    window = here.load()
    outcomes = here.settle(here.answers())
    here.cost(window, "delivery", window.delivered)
    return here.result("delivery", window.delivered, outcomes)
