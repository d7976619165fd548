"""A door without sessions, for tests that ask `chat` as another door than a session would."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable

from gateway.chat.chat import Chat
from gateway.chat.principal import AppItself, Principals, User
from gateway.chat.refused import Refused, refusal
from gateway.config import Settings
from gateway.redis.errors import OperationFailed
from tests.harness import FakeClock, RunningWorker, running_worker
from tests.inside import Inside


@dataclasses.dataclass
class Door:
    """A door without sessions."""

    running: RunningWorker
    chat: Chat
    open: contextlib.AsyncExitStack

    @property
    def clock(self) -> FakeClock:
        """The gateway's."""
        assert self.running.clock is not None
        return self.running.clock

    @property
    def principals(self) -> Principals:
        """What makes the authors of requests."""
        return Inside(self.running.worker).principals

    async def user(self, name: str) -> User:
        """The principal of a user who asks here."""
        making = self.principals.user(self.running.app.id, name)
        return await self.open.enter_async_context(making)

    async def app(self) -> AppItself:
        """The app itself."""
        return await self.open.enter_async_context(self.principals.app(self.running.app.id))

    async def say(self, user: User, to: str, text: str, client_id: str = "") -> tuple[bytes, int]:
        """Send a text; returns the message's id, and its number in the conversation."""
        mid, stored = self.chat.messages.send(user, client_id or text, to, "text", text.encode())
        return mid, (await stored).seq

    async def texts(self, who: User | AppItself, peer: str) -> list[str]:
        """The conversation's messages, the oldest first, as `who` sees them."""
        page = await self.chat.history.page(who, peer, 50, after=0)
        return [entry.message.body.decode() for entry in page.entries if entry.message.sender]


@contextlib.asynccontextmanager
async def a_door(settings: Settings, clock: FakeClock, tier: str) -> AsyncIterator[Door]:
    """A door to a gateway on a real store, with nobody connected."""
    async with running_worker(settings, tier=tier, clock=clock) as running:
        async with contextlib.AsyncExitStack() as opened:
            yield Door(running, Inside(running.worker).chat, opened)
            assert not list(Inside(running.worker).sessions())
        assert len(Inside(running.worker).limits) == 0, "every bucket was given back"


async def code_of(answer: Awaitable[object]) -> str:
    """ "ok", or the name of the code that it is refused with."""
    try:
        await answer
    except (Refused, OperationFailed) as error:
        return refusal(error).code.name
    return "ok"


async def later(call: Callable[[], Awaitable[object]]) -> object:
    """`call`, which may refuse before there is anything to await."""
    return await call()
