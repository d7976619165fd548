"""What waits for webhooks, in the buckets where it happened."""

from __future__ import annotations

import pytest

from gateway.store import hook_queue
from gateway.store.entries import NewEntry
from gateway.store.hook_queue import ABSENT, HAPPENED, KEPT_MS, HookQueue, Taken, Waiting
from gateway.store.keys import bucket_of
from tests.gateway.store.conftest import APP_ID, Store, apart, message_id, together
from tests.gateway.store.hooking import event, give_webhook, noted
from tests.harness import until


async def say(store: Store, to: str, said: bytes, mid: bytes | None = None) -> int:
    """A message from ann, of which webhooks are told `said`; returns its number."""
    entry = NewEntry(mid or message_id(), b"record", store.clock.ms, "ann", event=said)
    recipients = store.talks.direct(APP_ID, "ann", to)
    return (await store.talks.send(APP_ID, store.tier, recipients, entry)).seq


async def test_a_message_and_its_event_are_one_step(store: Store) -> None:
    """G5: the script that numbers a message notes the event, with that number and time; a message
    of which nobody wants to know leaves nothing."""
    await give_webhook(store)
    await say(store, "bob", b"")
    assert await noted(store) == []
    assert await say(store, "bob", event(store)) == 2
    (found,) = await noted(store)
    assert (found.absent, found.time_ms, found.seq, found.users) == (False, store.clock.ms, 2, ())


async def test_a_repeated_message_is_noted_once(store: Store) -> None:
    """G2: what is sent again is no second event, also where only the answer was lost."""
    await give_webhook(store)
    mid = message_id()
    for _ in range(3):
        assert await say(store, "bob", event(store), mid) == 1
    assert len(await noted(store)) == 1


@pytest.mark.parametrize("where", [together, apart])
async def test_it_is_said_who_was_not_there(store: Store, where: type) -> None:
    """`message.offline` names the recipients whom no gateway listens for, wherever their inbox
    lies; never the sender, and nobody who is there."""
    await give_webhook(store)
    bob = where("ann")
    channel = store.keys.inbox(APP_ID, bob).channel
    async with store.hearing(channel):
        await say(store, bob, event(store, wanted=HAPPENED | ABSENT))
        assert [each.absent for each in await noted(store)] == [False]

    async def nobody_is_there() -> bool:
        return bool(await store.link.publish(channel, b"") == 0)

    await until(nobody_is_there)
    store.clock.advance(1)
    await say(store, bob, event(store, wanted=ABSENT))
    absent = [each for each in await noted(store) if each.absent]
    assert [(each.users, each.seq) for each in absent] == [((bob,), 2)]


async def test_a_message_to_oneself_has_nobody_absent(store: Store) -> None:
    """The sender knows what they wrote."""
    await give_webhook(store)
    await say(store, "ann", event(store, wanted=ABSENT))
    assert await noted(store) == []


async def test_a_bucket_holds_so_many_bytes_and_says_what_went(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9, G5: where nobody takes what waits, the oldest go, and their number is known."""
    await give_webhook(store)
    monkeypatch.setattr(hook_queue, "QUEUE_BYTES", 2000)
    queue = HookQueue(store.link, store.keys)
    for _ in range(100):
        await queue.note(APP_ID, "ann", event(store), message_id(), store.clock.ms)
    waiting = await queue.waiting(APP_ID, bucket_of(APP_ID, "ann"))
    assert waiting is not None
    assert sum(map(len, waiting.values)) <= 2000
    assert waiting.last == 100
    assert waiting.missing(None)[0] == 100 - len(waiting.values) > 50


async def test_what_was_taken_goes_and_is_not_lost(store: Store) -> None:
    """What every log has goes from the bucket, and only that: what came meanwhile stays."""
    await give_webhook(store)
    queue, bucket = HookQueue(store.link, store.keys), bucket_of(APP_ID, "ann")
    for _ in range(3):
        await queue.note(APP_ID, "ann", event(store), message_id(), store.clock.ms)
    waiting = await queue.waiting(APP_ID, bucket)
    assert waiting is not None
    await queue.note(APP_ID, "ann", event(store), message_id(), store.clock.ms)
    assert await queue.hooked(bucket, store.clock.ms, 10) == [APP_ID]
    await queue.took(APP_ID, bucket, waiting)
    rest = await queue.waiting(APP_ID, bucket)
    assert rest is not None
    assert (rest.first, len(rest.values)) == (4, 1)
    assert rest.missing(waiting.end) == (0, rest.values)
    assert rest.missing(None) == (0, rest.values)
    await queue.took(APP_ID, bucket, rest)
    assert await queue.hooked(bucket, store.clock.ms, 10) == []


def _waiting(epoch: bytes, before: int, first: int, count: int) -> Waiting:
    values = [str(number).encode() for number in range(first, first + count)]
    return Waiting(epoch + b"runn", before, 0, first, values)


def test_a_redis_that_came_back_older_gives_numbers_again() -> None:
    """G5: what a restarted server numbers anew is another event, though a log has that number: it
    lacks everything after the last number from before the new epoch."""
    old, new = b"old!", b"new!"
    assert _waiting(old, 0, 3, 5).missing(Taken(old, 5)) == (0, [b"6", b"7"])
    assert _waiting(old, 0, 3, 5).missing(Taken(old, 1)) == (1, [b"3", b"4", b"5", b"6", b"7"])
    # The server lost 4 and 5, which the log has, and gave 4 to something else.
    assert _waiting(new, 3, 3, 2).missing(Taken(old, 5)) == (0, [b"4"])
    # Nothing was lost: the log has up to 5 still.
    assert _waiting(new, 7, 3, 6).missing(Taken(old, 5)) == (0, [b"6", b"7", b"8"])


async def test_a_server_that_was_restarted_begins_an_epoch(store: Store) -> None:
    """Each run of the server that numbers is told from the others, as in a conversation."""
    await give_webhook(store)
    bucket = bucket_of(APP_ID, "ann")
    keys = store.keys.hooks(APP_ID, bucket)
    queue = HookQueue(store.link, store.keys)
    await queue.note(APP_ID, "ann", event(store), message_id(), store.clock.ms)
    head = store.raw.hget(keys.queue, "h")
    assert isinstance(head, bytes)
    store.raw.hset(keys.queue, "h", head[:4] + b"\xffold" + head[8:])
    await queue.note(APP_ID, "ann", event(store), message_id(), store.clock.ms)
    waiting = await queue.waiting(APP_ID, bucket)
    assert waiting is not None
    assert (waiting.before, waiting.last) == (1, 2)
    assert waiting.version[:4] != head[:4]


async def test_what_nobody_takes_goes_after_three_days(store: Store) -> None:
    """G11: to the millisecond by the sweeper's time; and with the app at once."""
    await give_webhook(store)
    queue, bucket = HookQueue(store.link, store.keys), bucket_of(APP_ID, "ann")
    await queue.note(APP_ID, "ann", event(store), message_id(), store.clock.ms)
    store.clock.advance(KEPT_MS / 1000 - 0.001)
    await store.sweeper().sweep()
    assert len(await noted(store)) == 1
    store.clock.advance(0.001)
    await store.sweeper().sweep()
    assert await noted(store) == []
    waiting = await queue.waiting(APP_ID, bucket)
    assert waiting is not None
    assert waiting.missing(None) == (1, [])


def test_an_event_that_nobody_wants_is_no_argument() -> None:
    """Apps without webhooks pay for an empty argument, and nothing else."""
    assert hook_queue.argument(b"", b"seed", "ab") == b""
