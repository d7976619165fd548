"""Groups: one message into the inbox of every member, all of them there and acknowledging."""

from __future__ import annotations

from bench.options import UsageError
from bench.result import Result
from bench.run import Run, member


def run(here: Run) -> Result:
    """In ``--rooms`` groups of ``--members`` members, each group's owner sends to it.

    ``--rate`` is that of all groups together.
    """
    options = here.options
    if options.members < 2:
        raise UsageError("group needs --members of 2 or more")
    users = here.users(options.rooms * options.members)
    people = []
    for index, (user, token) in enumerate(users):
        first = index - index % options.members
        others: tuple[str, ...] = ()
        if index == first:
            others = tuple(name for name, _ in users[first + 1 : first + options.members])
        people.append(member(index, user, token, hears=(first,), group=others))
    here.start(people)
    here.connect()
    here.prepare()
    window = here.load()
    outcomes = here.settle(here.answers())
    here.cost(window, "delivery", window.delivered)
    return here.result("delivery", window.delivered, outcomes)
