"""What decides whether a process may use a Redis, and what its user must be allowed there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from gateway.redis.rights import Needed

Call = Callable[..., Awaitable[Any]]
"""Runs one Redis command, given as its words."""


class Guard(Protocol):
    """Looks at each server that a link connects to, before anything else is asked of it.

    `gateway.store.stamp.Stamp` is one.
    """

    @property
    def key(self) -> str:
        """The key that the guard checks. In a cluster, only the primary that has it is checked."""

    def needed(self, *, replicas: bool, cluster: bool) -> Sequence[Needed]:
        """What the user of `redis_url` must be allowed. See `Rights.needed`."""

    @property
    def question(self) -> tuple[str, ...]:
        """A command about `key`. A link repeats it each second while it is connected."""

    def holds(self, answer: Any) -> bool:
        """Whether the server that gave this answer to `question` is still the right one."""

    async def admit(self, call: Call) -> None:
        """Look at the server that `call` asks.

        Raises:
            WrongServer: it must not be used.
        """
