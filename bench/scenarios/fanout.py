"""Rooms: one message to many sockets, against a bare send() loop of the same frame."""

from __future__ import annotations

from homeport import codec, frames

from bench.baseline import send_loop_us
from bench.client import KIND, Who
from bench.place import HOMEPORT
from bench.result import Result
from bench.run import Run, member
from gateway.net.framing import Framer

BASELINE_S = 3.0


def run(here: Run) -> Result:
    """In ``--rooms`` rooms of ``--members`` members, one of each room's sends to it.

    ``--rate`` is that of all rooms together.
    """
    options = here.options
    users = here.users(options.rooms * options.members)
    people = []
    for index, (user, token) in enumerate(users):
        first = index - index % options.members
        room = f"bench-{options.start_id + first}-{options.seed}"
        sends_to = f"r:{room}" if index == first else ""
        people.append(member(index, user, token, sends_to=sends_to, hears=(first,), room=room))
    here.start(people)
    here.connect()
    here.prepare()
    compares = bool(here.place.gateway_pids) and here.place.speaks == HOMEPORT
    before = _floor(here, people[0]) if compares else 0.0
    window = here.load()
    outcomes = here.settle(here.answers())
    here.cost(window, "delivery", window.delivered)
    if compares:
        # Before and after, because a machine is seldom ours alone, or evenly busy.
        floor = (before + _floor(here, people[0])) / 2
        here.figures["send() loop us per delivery"] = floor
        here.figures["gateway CPU to a bare send() loop"] = (
            here.figures["gateway us per delivery"] / floor
        )
    return here.result("delivery", window.delivered, outcomes)


def _floor(here: Run, sender: Who) -> float:
    """CPU microseconds a delivery of a bare send() loop, at the pace of the load."""
    options = here.options
    here.monitor.enter("a bare send() loop")
    body = bytes(options.size)
    message = frames.Message(bytes(16), sender.user, sender.sends_to, 2**41, KIND, body)
    frame = Framer().framed(codec.roompush_bytes(1000, 1, codec.encode(message)))
    seconds = min(BASELINE_S, options.duration)
    return send_loop_us(options.members, len(frame), options.rate, seconds)
