"""What can go wrong between a process and its Redis::

OperationFailed
+-- Unavailable          away, overloaded or not durable enough; nothing is known to be done
|   +-- MissingRights    the ACL user may not do all that a gateway does
|   +-- NotReplicated    it was done, and too few replicas have said that they have it
|   +-- Redirected       another node of the cluster has the slot; it was not done
+-- CommandFault         Redis refused a command that should work: a bug, or foreign data
+-- RedisRefused         Redis does not let this user in, or forbids what is needed
+-- NotDurable           this Redis does not keep what `durability` promises
+-- WrongServer          this Redis must not be used
    +-- IsCluster        it is one node of a cluster, and `redis_url` says one server

Those about what lies in a Redis are in `gateway.store`.
"""

from __future__ import annotations

from typing import Any, Final


class OperationFailed(Exception):
    """What was asked of Redis was not done, or is not known to be done."""


class Unavailable(OperationFailed):
    """Redis did not do it, or did not say so. Repeating the same request is safe.

    `reason` is a short name for logs and metrics; `retry_after` is in seconds; `detail` says more
    to a person, where there is more to say.
    """

    def __init__(self, reason: str, retry_after: float = 1.0, detail: str = "") -> None:
        super().__init__(f"Redis is unavailable: {detail or reason}")
        self.reason = reason
        self.retry_after = retry_after
        self.detail = detail


FORBIDDEN: Final = "acl"
"""The reason of an `Unavailable` that Redis' ACL is to blame for."""


READONLY: Final = "readonly"
"""The reason of one whose server is a replica."""


class MissingRights(Unavailable):
    """The ACL user `user` may not run `commands`, which a gateway needs. It is asked again."""

    def __init__(self, user: str, commands: str) -> None:
        super().__init__(FORBIDDEN, detail=rights_text(user, commands))
        self.user = user
        self.commands = commands


def rights_text(user: str, commands: str) -> str:
    """What to do about rights that are missing."""
    return (
        f"the Redis user {user!r} may not run {commands}: "
        'give it the rights in deploy/RUNBOOK.md, "Redis\' users"'
    )


class NotReplicated(Unavailable):
    """It was done, and `have` replicas have confirmed it in time, which are too few.

    `reply` is what the command itself answered.
    """

    def __init__(self, have: int, reply: Any) -> None:
        super().__init__("replicas")
        self.have = have
        self.reply = reply


class Redirected(Unavailable):
    """The node has not got the slot: `slot` is at `host`:`port`. `ask`: for this command only."""

    def __init__(self, slot: int, host: str, port: int, ask: bool) -> None:
        super().__init__("ask" if ask else "moved")
        self.slot = slot
        self.host = host
        self.port = port
        self.ask = ask


class NotDurable(OperationFailed):
    """`durability` is fsync, and a Redis that messages go to answers before it has written.

    The text says which of its settings it is.
    """


class CommandFault(OperationFailed):
    """Redis answered a command with an error that no retry will mend.

    `reply` is its first word; `detail` are more of its words, where those hold no key.
    """

    def __init__(self, reply: str, detail: str = "") -> None:
        super().__init__(f"Redis refused a command: {reply}")
        self.reply = reply
        self.detail = detail


class RedisRefused(OperationFailed):
    """Redis at `place` refuses, and will until somebody changes something there or in `redis_url`.

    `reason` is in the server's own words.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"Redis at {place} refuses: {reason}")
        self.place = place
        self.reason = reason


class WrongServer(OperationFailed):
    """This Redis must not be used. At a start it is not waited for, unless `may_become_right`."""

    may_become_right = False


class IsCluster(WrongServer):
    """It is one node of a cluster, and has only some of the slots."""

    def __init__(self) -> None:
        super().__init__(
            "this Redis is a node of a cluster: begin redis_url with redis+cluster:// "
            "(or rediss+cluster://)"
        )
