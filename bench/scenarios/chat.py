"""Durable messages between two users who are both there: stored, numbered, acknowledged."""

from __future__ import annotations

from bench.options import UsageError
from bench.place import HOMEPORT
from bench.result import Result
from bench.run import Run, member


def run(here: Run) -> Result:
    """Half of ``--clients`` send, each to another one of the other half, ``--rate`` in all."""
    if here.options.clients < 2:
        raise UsageError("chat needs --clients of 2 or more")
    users = here.users(here.options.clients // 2 * 2)
    people = []
    for index, (user, token) in enumerate(users):
        sender = index - index % 2
        sends_to = users[index + 1][0] if index == sender else ""
        # A peer does not bring a sender's own messages back.
        hears = (sender,) if not sends_to or here.place.speaks == HOMEPORT else ()
        people.append(member(index, user, token, sends_to=sends_to, hears=hears))
    here.start(people)
    here.connect()
    window = here.load()
    outcomes = here.settle(here.answers())
    here.cost(window, "message", window.accepted)
    return here.result("message", window.accepted, outcomes)
