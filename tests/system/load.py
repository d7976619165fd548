"""Many senders and receivers at once, and the account that has to balance in the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from homeport import Client, ConversationReset, Disconnected, Event, Lost, Message, Reset, Sent

from tests.system.site import DEADLINE_S, PATIENCE_S, Site


class Load:
    """Users who write to each other through the SDK, all from one device.

    Every body is ``<sender> <number>``, the numbers of a sender 0, 1, 2…
    """

    def __init__(
        self, site: Site, url: str, users: int, rng: random.Random, **client_options: Any
    ) -> None:
        self.users = [f"user{number}" for number in range(users)]
        self.events: dict[str, list[Event]] = defaultdict(list)
        self.times: dict[str, list[float]] = defaultdict(list)  # of the events, monotonic seconds
        self.got: dict[str, list[Message]] = defaultdict(list)
        self.accepted = 0
        self._site = site
        self._url = url
        self._rng = rng
        self._client_options = client_options
        self._clients: dict[str, Client] = {}
        self._sent: dict[str, list[str]] = defaultdict(list)  # sender -> recipient of each number
        self._answers: dict[str, list[asyncio.Task[Sent]]] = defaultdict(list)
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Every user is connected, and reads and acknowledges."""
        async with contextlib.AsyncExitStack() as stack:
            for user in self.users:
                client = self._site.client(
                    self._url, user, on_event=partial(self._note, user), **self._client_options
                )
                self._clients[user] = await stack.enter_async_context(client)
            readers = [asyncio.create_task(self._read(user)) for user in self.users]
            try:
                yield
            finally:
                for reader in readers:
                    reader.cancel()
                await asyncio.gather(*readers, return_exceptions=True)

    def _note(self, user: str, event: Event) -> None:
        self.events[user].append(event)
        self.times[user].append(time.monotonic())

    async def _read(self, user: str) -> None:
        async for message in self._clients[user].messages():
            self.got[user].append(message)
            self._changed.set()

    # -- sending -------------------------------------------------------------------------------

    async def send(self, each: int, in_flight: int) -> None:
        """Every user sends `each` messages, at most `in_flight` of them unanswered.

        Raises:
            ClientError: one was not accepted; the SDK gave it up.
        """
        async with asyncio.TaskGroup() as group:
            for user in self.users:
                group.create_task(self._send(user, each, in_flight))

    async def _send(self, user: str, each: int, in_flight: int) -> None:
        room = asyncio.Semaphore(in_flight)

        def answered(task: asyncio.Task[Sent]) -> None:
            room.release()
            if not task.cancelled() and task.exception() is None:
                self.accepted += 1
                self._changed.set()

        answers = []
        for _ in range(each):
            await room.acquire()
            to = self._rng.choice([other for other in self.users if other != user])
            number = len(self._sent[user])
            self._sent[user].append(to)
            sending = self._clients[user].send(to, f"{user} {number}", timeout=PATIENCE_S)
            answer = asyncio.create_task(sending)
            answer.add_done_callback(answered)
            answers.append(answer)
        self._answers[user] += answers
        await asyncio.gather(*answers)

    @property
    def begun(self) -> int:
        """How many sends have begun."""
        return sum(len(sent) for sent in self._sent.values())

    # -- waiting -------------------------------------------------------------------------------

    async def until_accepted(self, count: int) -> None:
        """Wait until `count` sends have been answered ok, in all."""
        async with asyncio.timeout(PATIENCE_S):
            while self.accepted < count:
                self._changed.clear()
                await self._changed.wait()

    async def until_received(self) -> None:
        """Wait until everyone has as many messages as were sent to and by them."""
        due = self.due()

        def got() -> dict[str, int]:
            return {user: len({m.id for m in self.got[user]}) for user in self.users}

        try:
            async with asyncio.timeout(DEADLINE_S / 2):  # less than the gateway's idle check
                while any(count < due[user] for user, count in got().items()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"accepted and not delivered: due {due}, got {got()}") from None

    def due(self) -> Counter[str]:
        """How many messages each inbox must have had: those to its user and those by them."""
        due = Counter({user: len(sent) for user, sent in self._sent.items()})
        for sent in self._sent.values():
            due.update(sent)
        return due

    # -- the account ---------------------------------------------------------------------------

    async def check(self) -> None:
        """Nothing lost, nothing twice, in each sender's order within a conversation, and dense
        numbers: those of each inbox, and those of each conversation, which are in its order.

        A last message to oneself shows that nothing else is in an inbox: it has the next number.
        """
        due = self.due()
        for user in self.users:
            got = self.got[user]
            assert [_number(message) for message in got] == list(range(1, due[user] + 1))
            for other in self.users:
                seqs = [message.seq for message in got if message.peer == other]
                assert seqs == list(range(1, len(seqs) + 1)), f"{user} with {other}"
            by_talk: dict[tuple[str, str], list[int]] = defaultdict(list)
            for message in got:
                sender, _, number = message.text.partition(" ")
                assert sender == message.sender
                by_talk[sender, message.to].append(int(number))
            for sender, sent in self._sent.items():
                for to in {to for to in sent if user in (to, sender)}:
                    expected = [number for number, other in enumerate(sent) if other == to]
                    assert by_talk.pop((sender, to)) == expected, f"{sender} to {to}, at {user}"
            assert not by_talk
        ids = [answer.result().id for answers in self._answers.values() for answer in answers]
        assert len(set(ids)) == len(ids) == self.accepted
        assert {message.id for got in self.got.values() for message in got} == set(ids)
        for user in self.users:
            await self._clients[user].send(user, f"{user} end", timeout=PATIENCE_S)
        async with asyncio.timeout(DEADLINE_S):
            while any(len(self.got[user]) == due[user] for user in self.users):
                self._changed.clear()
                await self._changed.wait()
        for user in self.users:
            assert self.got[user][-1].text == f"{user} end"
            assert _number(self.got[user][-1]) == due[user] + 1
        self._check_events()

    def check_told(self) -> int:
        """As `check`, where a failover may have undone what was never accepted: nothing accepted is
        missing, numbers are dense within each numbering, each sender's order within a conversation
        holds there, and where something came again, in a new numbering, the client was told so
        before (G5).

        Returns how many messages came again.
        """
        again = 0
        for user in self.users:
            numberings: list[list[Message]] = [[]]
            for message in self.got[user]:
                if numberings[-1] and _number(message) <= _number(numberings[-1][-1]):
                    numberings.append([])
                numberings[-1].append(message)
            told = sum(isinstance(event, Reset) for event in self.events[user])
            assert len(numberings) - 1 <= told, f"{user}: {told} times told of another numbering"
            # A conversation's reset has a number of the inbox too.
            resets = sum(isinstance(event, ConversationReset) for event in self.events[user])
            for numbering in numberings:
                numbers = [_number(message) for message in numbering]
                holes = numbers[-1] - numbers[0] + 1 - len(numbers)
                assert numbers == sorted(set(numbers)), f"{user}: not in order"
                assert holes <= resets, f"{user}: a hole"
                by_talk: dict[tuple[str, str], int] = defaultdict(lambda: -1)
                for message in numbering:
                    sender, _, number = message.text.partition(" ")
                    talk = sender, message.to
                    assert int(number) > by_talk[talk], f"{user}: order of {sender}"
                    by_talk[talk] = int(number)
            expected = {
                f"{sender} {number}"
                for sender, sent in self._sent.items()
                for number, to in enumerate(sent)
                if user in (to, sender)
            }
            texts = [message.text for message in self.got[user]]
            assert set(texts) == expected, f"{user}: accepted and not delivered"
            assert len({message.id for message in self.got[user]}) == len(expected)
            assert not [event for event in self.events[user] if isinstance(event, Lost)]
            again += len(texts) - len(expected)
            assert told or len(texts) == len(expected), f"{user}: twice, and not told"
        return again

    def _check_events(self) -> None:
        """No client was told of a loss, and none had to give a connection up for a fault in it."""
        for events in self.events.values():
            told = Lost | Reset | ConversationReset
            assert not [event for event in events if isinstance(event, told)]
            for event in events:
                assert not isinstance(event, Disconnected) or "was due" not in event.reason


def _number(message: Message) -> int:
    """The number that a message has in the inbox."""
    assert message.cursor is not None
    return message.cursor.number
