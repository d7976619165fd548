"""A room's numbering after the server was started anew: what goes on, and what nobody knows."""

from __future__ import annotations

from typing import Any

from gateway.store.entries import NewEntry
from gateway.store.rooms import Joined, RoomStore, Start, Top, kept
from tests.gateway.store.conftest import Store, message_id

NOBODY = Top()


class Hall:
    """One room, and what gateways and clients ask of it."""

    def __init__(self, store: Store) -> None:
        self.store, self.rooms = store, RoomStore(store.link, store.keys)

    async def join(self, heard: Top = NOBODY, start: Start = Start(10)) -> Joined:  # noqa: B008
        """A client takes its seat, through a gateway that has heard so much."""
        now = self.store.clock.ms
        return await self.rooms.join(self.store.app, "hall", "ann:d", start, heard, now)

    async def say(self, heard: Top = NOBODY, count: int = 1) -> None:
        """Messages, through such a gateway."""
        for _ in range(count):
            entry = NewEntry(message_id(), b"r", self.store.clock.ms, "ann")
            await self.rooms.send(self.store.app, "hall", entry, heard)

    async def keep(self, heard: Top) -> Top:
        """What such a gateway is told as it keeps its seats."""
        found = await self.rooms.keep(
            self.store.app.id, "hall", ["ann:d"], heard, self.store.clock.ms
        )
        return Top(*found[1:])

    def restart(self) -> None:
        """The server is the same here, so it is the room that has to know another run of it."""
        self.set("r", "another")

    def set(self, field: str, value: Any) -> None:
        """Write into the room's hash."""
        meta = self.store.keys.room(self.store.app.id, "hall").meta
        self.store.raw.hset(meta, field, value)


async def test_numbers_go_on_where_the_server_has_lost_nothing(store: Store) -> None:
    """HP-15.6-7, HP-15.3-2, HP-15.3-5: each restart of Redis was a gap of unknown size for all who
    came back to a room. A gateway that has heard all that the server knows is a witness that it is
    the same: who had the first two gets the other two, and no more."""
    hall = Hall(store)
    old = (await hall.join()).epoch
    await hall.say(count=3)
    hall.restart()
    new = await hall.keep(Top(old, 3))
    assert (kept(new.epoch, old), new.seq) == (3, 3)
    await hall.say(new)
    back = await hall.join(new, Start(10, old, 2))
    assert (back.epoch, back.top, [each.seq for each in back.entries]) == (new.epoch, 4, [3, 4])


async def test_nothing_goes_on_without_a_witness(store: Store) -> None:
    """HP-15.3-5, HP-15.6-6: a join or a send through a gateway that was started with the server
    shows nothing, and nobody is told that the numbers are the same."""
    for ask in (Hall.join, Hall.say):
        hall = Hall(store)
        old = (await hall.join()).epoch
        await hall.say(count=3)
        hall.restart()
        await ask(hall)
        back = await hall.join(start=Start(10, old, 2))
        assert kept(back.epoch, old) is None
        assert [each.seq for each in back.entries] == list(range(1, back.top + 1))


async def test_whoever_has_heard_more_ends_what_went_on(store: Store) -> None:
    """HP-15.6-7, HP-15.6-5: the server came back without number 4 and 5, and the first gateway that
    asked had not heard these either. The second had."""
    hall = Hall(store)
    old = (await hall.join()).epoch
    await hall.say(count=3)
    hall.restart()
    first = await hall.keep(Top(old, 3))
    await hall.say(first)
    assert await hall.keep(Top(old, 3)) == Top(first.epoch, 4)
    second = await hall.keep(Top(old, 5))
    assert second.seq == 5
    assert kept(second.epoch, first.epoch) is kept(second.epoch, old) is None
    assert await hall.keep(first) == second


async def test_an_older_server_goes_on_with_nothing(store: Store) -> None:
    """HP-15.6-5: also where it is the witness of before that has heard more."""
    hall = Hall(store)
    old = (await hall.join()).epoch
    await hall.say(count=3)
    hall.set("q", 2)
    hall.restart()
    new = await hall.keep(Top(old, 3))
    assert (new.seq, kept(new.epoch, old)) == (3, None)


async def test_an_epoch_goes_on_with_the_one_before_only(store: Store) -> None:
    """HP-15.3-5: of an earlier one, numbers below may have been given again in between."""
    hall = Hall(store)
    epochs = [(await hall.join()).epoch]
    await hall.say(count=3)
    for _ in range(2):
        hall.restart()
        epochs.append((await hall.keep(Top(epochs[-1], 3))).epoch)
    assert [kept(epochs[2], each) for each in epochs] == [None, 3, None]
    assert len({each[:8] for each in epochs}) == 3
