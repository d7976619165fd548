"""A subscriber whose Redis is the test: what the test publishes, those hear who listen."""

from __future__ import annotations

import asyncio

from gateway.redis.subscriber import ChannelListener


class Ears:
    """Takes the place of the subscriber. It confirms at once, or when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.confirming = True
        self.waiting: list[asyncio.Future[None]] = []
        self._listeners: dict[str, ChannelListener] = {}

    @property
    def wanted(self) -> list[str]:
        """The channels that somebody listens to."""
        return list(self._listeners)

    def subscribe(self, channel: str, listener: ChannelListener) -> asyncio.Future[None]:
        """See `Subscriber`."""
        self.asked.append(("+", channel))
        self._listeners[channel] = listener
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        if self.confirming:
            future.set_result(None)
        return future

    def unsubscribe(self, channel: str) -> None:
        """See `Subscriber`."""
        self.asked.append(("-", channel))
        del self._listeners[channel]

    def publish(self, channel: str, payload: bytes) -> None:
        """Have it heard by the listener that asked for the channel."""
        if channel in self._listeners:
            self._listeners[channel].heard(channel.encode(), payload)
