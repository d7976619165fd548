"""Recall and edit over real sockets: who may, when, and what everyone then has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import redis
from homeport import frames
from homeport.limits import MAX_EDITS
from structlog.testing import capture_logs

from gateway.config import Settings
from gateway.redis.errors import Unavailable
from gateway.redis.scripts import SCRIPTS
from gateway.store.lateness import UNSEEN_S
from tests.gateway.chat.grouping import created, done
from tests.gateway.chat.keeping import dump
from tests.gateway.chat.recalling import edit, history, pushed, recall, secret, sent, stored
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RunningWorker, accepted, until

DAY = 24 * 3600


def killed(then: Callable[[Any], None], *_: Any, **__: Any) -> None:
    """`Link.run_packed` of a gateway that dies before it refers anybody to a message."""
    then(Unavailable("killed"))


async def test_a_recall_reaches_every_device(settings: Settings, clock: FakeClock) -> None:
    """HP-13.4-1, HP-13.4-2, HP-13.4-3, G3: on two gateways; who was away finds it in its place."""
    async with two_workers(settings, clock) as (one, two):
        async with (
            one.client("alice") as alice,
            two.client("alice", "d2") as other,
            two.client("bob") as bob,
        ):
            await sent(alice, "bob", "before")
            oops = await sent(alice, "bob", "oops")
            await sent(alice, "bob", "after")
            text = secret(one, oops)
            assert await recall(alice, "bob", oops) == "ok"
            for online in (alice, other, bob):
                told = ["before", "oops", "after", "told recalled by alice"]
                assert await pushed(online, 4) == told
            for client, peer in ((other, "bob"), (bob, "alice")):
                assert await history(client, peer) == ["after", "recalled by alice", "before"]
            assert text not in dump(one)
        async with one.client("bob", "late") as bob:
            told = ["before", "recalled by alice", "after", "told recalled by alice"]
            assert await pushed(bob, 4) == told


async def test_an_edit_reaches_every_device(settings: Settings, clock: FakeClock) -> None:
    """HP-13.4-1, HP-13.4-2, HP-13.4-3: the new text in its place, and in the notice."""
    async with two_workers(settings, clock) as (one, two):
        async with one.client("alice") as alice, two.client("bob") as bob:
            typo = await sent(alice, "bob", "teh", mentions=("carol",))
            text = secret(one, typo)
            clock.advance(3)
            assert await edit(alice, "bob", typo, "the") == "ok"
            assert await pushed(bob, 2) == ["teh", "told the 1"]
            assert await history(bob, "alice") == ["the 1"]
            assert text not in dump(one)
        async with one.client("bob", "late") as bob:
            push = await bob.expect(frames.Push)
            first = push.message
            assert (first.id, first.time, push.seq) == (typo.id, typo.time, typo.seq)
            assert first.body == b"the"
            assert first.extra == frames.Extra(("carol",), edits=1, edited=clock.ms)
            notice = await bob.expect(frames.Push)
            told = msgspec.msgpack.decode(notice.message.body, type=frames.EditNotice)
            assert told == frames.EditNotice(typo.id, "alice", typo.seq, 1, clock.ms, b"the")
            page = await bob.ask(frames.History, "alice", 10)
            assert [entry.seq for entry in page.entries] == [notice.seq, typo.seq]


async def test_a_group(gateway: RunningWorker) -> None:
    """HP-13.4-2, HP-13.4-3: for each member, those who are away too."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = f"g:{await created(alice, 'bob', 'carol')}"
        oops, typo = await sent(bob, group, "oops"), await sent(bob, group, "teh")
        before = [secret(gateway, oops), secret(gateway, typo)]
        assert await recall(bob, group, oops) == "ok"
        assert await edit(bob, group, typo, "the") == "ok"
        assert await history(alice, group) == ["the 1", "recalled by bob"]
        found = dump(gateway)
        assert [each for each in before if each in found] == []
    async with gateway.client("carol") as carol:
        await carol.expect(frames.Push)  # that the group was made
        told = ["recalled by bob", "the 1", "told recalled by bob", "told the 1"]
        assert await pushed(carol, 4) == told


async def test_who_may(gateway: RunningWorker) -> None:
    """HP-13.4-4: the sender; of a recall in a group, its owner and admins too; as they are now."""
    async with (
        gateway.client("alice") as alice,
        gateway.client("bob") as bob,
        gateway.client("carol") as carol,
        gateway.client("eve") as eve,
    ):
        group_id = await created(alice, "bob", "carol")
        group = f"g:{group_id}"
        first, second = await sent(bob, group, "first"), await sent(bob, group, "second")
        third = await sent(bob, group, "third")
        for asker in (carol, alice):
            assert await edit(asker, group, first, "x") == "not_yours"
        assert await recall(carol, group, first) == "not_yours"
        for call in (recall(eve, group, first), edit(eve, group, first, "x")):
            assert await call == "not_a_member"
        await done(alice, "role", group_id, "carol", "admin")
        assert await recall(carol, group, first) == "ok"
        await done(alice, "mute", group_id, True, "bob")
        assert await edit(bob, group, second, "x") == "muted"
        assert await recall(bob, group, second) == "ok"
        await done(alice, "remove", group_id, ["bob"])
        for call in (recall(bob, group, third), edit(bob, group, third, "x")):
            assert await call == "not_a_member"
        assert await history(alice, group) == ["third", "recalled by bob", "recalled by carol"]
        # Of two users, only the one who sent it.
        direct = await sent(alice, "eve", "hello")
        for call in (recall(eve, "alice", direct), edit(eve, "alice", direct, "x")):
            assert await call == "not_yours"
        assert await history(eve, "alice") == ["hello"]


async def test_what_is_not_there(gateway: RunningWorker) -> None:
    """HP-13.4-5: another number, conversation or user; a notice; a kind that is no text."""
    async with gateway.client("alice") as alice, gateway.client("eve") as eve:
        kept = await sent(alice, "bob", "kept")
        group = f"g:{await created(alice, 'bob')}"  # its only message is a notice
        for peer, seq in (
            ("bob", 0),
            ("bob", kept.seq + 1),
            ("bob", 2**53 - 1),
            ("carol", kept.seq),
            (group, 1),
        ):
            message = frames.Accepted(kept.id, kept.time, seq)
            assert await recall(alice, peer, message) == "unknown_message", (peer, seq)
            assert await edit(alice, peer, message, "x") == "unknown_message"
        assert await recall(eve, "bob", kept) == "unknown_message"
        assert await edit(eve, "alice", kept, "x") == "unknown_message"
        for peer in ("r:lobby", "g:x", "a b"):
            assert await recall(alice, peer, kept) == "unknown_recipient"
            assert await edit(alice, peer, kept, "x") == "unknown_recipient"
        assert await recall(alice, "g:" + "0" * 32, kept) == "unknown_group"
        assert await edit(alice, "bob", kept, "x" * 8193) == "body_too_large"
        picture = await alice.ask(frames.Send, "picture", "bob", "image", b"\x00")
        assert await edit(alice, "bob", picture, "x") == "not_text"
        assert await recall(alice, "bob", picture) == "ok"


async def test_of_another_conversation_with_the_same_number(gateway: RunningWorker) -> None:
    """HP-13.4-5: a number means a message of the conversation that is named, and of no other."""
    async with gateway.client("alice") as alice, gateway.client("carol") as carol:
        await sent(alice, "bob", "to bob")
        to_alice = await sent(carol, "alice", "to alice")
        assert await recall(alice, "carol", to_alice) == "not_yours"
        with capture_logs() as logs:
            assert await recall(alice, "dave", to_alice) == "unknown_message"
        assert [line["event"] for line in logs] == ["refused"]
        assert await history(alice, "bob") == ["to bob"]
        assert await history(alice, "carol") == ["to alice"]


@pytest.mark.parametrize("window", [120, 0, 7 * DAY])
async def test_the_window(running: RunningWorker, window: int) -> None:
    """HP-13.4-6: to the millisecond, as the app sets it; 0 is never."""
    clock = running.clock
    assert clock is not None
    async with running.admin() as admin:
        await admin.apps.change(running.app.id, "recall_s", window, clock.ms)
    directory = running.inside.directory
    async with running.client("alice") as alice:
        await until(lambda: directory.known(running.app.id).recall_s == window)
        early, late = await sent(alice, "bob", "early"), await sent(alice, "bob", "late")
        clock.now = (early.time + 1000 * window) / 1000 - 0.001
        expected = "ok" if window else "recall_too_late"
        assert await edit(alice, "bob", early, "new") == expected
        assert await recall(alice, "bob", early) == expected
        clock.now += 0.003
        assert await edit(alice, "bob", late, "new") == "recall_too_late"
        assert await recall(alice, "bob", late) == "recall_too_late"
        if window:  # a repetition of what was done in time is still answered
            assert await recall(alice, "bob", early) == "ok"


async def test_ten_edits(gateway: RunningWorker) -> None:
    """HP-13.4-7: and a repeated one counts once; a recall is still possible."""
    async with gateway.client("alice") as alice:
        message = await sent(alice, "bob", "0")
        assert await edit(alice, "bob", message, "0") == "ok"  # nothing to do
        for number in range(1, MAX_EDITS + 1):
            for _ in range(2):
                assert await edit(alice, "bob", message, str(number)) == "ok"
        assert await edit(alice, "bob", message, "more") == "edit_limit"
        assert await edit(alice, "bob", message, "10") == "ok"
        assert await history(alice, "bob") == ["10 10"]
        assert await recall(alice, "bob", message) == "ok"
        assert await history(alice, "bob") == ["recalled by alice"]
    async with gateway.client("bob") as bob:
        told = ["recalled by alice", *["lost"] * 10, "told recalled by alice"]
        assert await pushed(bob, 12) == told


async def test_a_recall_is_the_last_word(gateway: RunningWorker) -> None:
    """HP-13.4-8, HP-13.4-9: repeated, it is ok and tells nothing again; no edit follows it."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        message = await sent(alice, "bob", "oops")
        for _ in range(3):
            assert await recall(alice, "bob", message) == "ok"
        for text in ("oops", "x"):
            assert await edit(alice, "bob", message, text) == "unknown_message"
        assert await recall(bob, "alice", message) == "not_yours"
        await sent(alice, "bob", "next")
        assert await pushed(bob, 3) == ["oops", "told recalled by alice", "next"]


async def test_an_edits_notice_goes_with_what_it_says(gateway: RunningWorker) -> None:
    """HP-13.4-1, HP-13.4-2: the notice of an edit says the text, too. A recall left it in every
    inbox, and who was away read there what had been taken back."""
    async with gateway.client("alice") as alice:
        message = await sent(alice, "bob", "0")
        texts = []
        for text in ("1", "2"):
            texts.append(secret(gateway, message))
            before = set(stored(gateway))
            assert await edit(alice, "bob", message, text) == "ok"
            (notice,) = set(stored(gateway)) - before
            texts.append(stored(gateway)[notice][-40:])
        texts.append(secret(gateway, message))
        async with gateway.client("bob", "d1") as bob:
            assert await pushed(bob, 3) == ["2 2", "lost", "told 2 2"]
        found = dump(gateway)
        assert [each in found for each in texts] == [False, False, False, True, True]
        assert await recall(alice, "bob", message) == "ok"
        async with gateway.client("bob", "d2") as bob:
            told = ["recalled by alice", "lost", "lost", "told recalled by alice"]
            assert await pushed(bob, 4) == told
        found = dump(gateway)
        assert [each for each in texts if each in found] == []


async def test_without_history(gateway: RunningWorker) -> None:
    """HP-13.4-1, HP-13.4-11: what the history leaves out can be changed, and neither it nor the
    notice of an edit, which says the text, is in the history then."""
    async with gateway.client("alice") as alice:
        message = await sent(alice, "bob", "unkept", history=False)
        text = secret(gateway, message)
        for new in ("new", "newer"):
            assert await edit(alice, "bob", message, new) == "ok"
        assert (await alice.ask(frames.History, "bob", 10)).entries == ()
        assert await recall(alice, "bob", message) == "ok"
        assert (await alice.ask(frames.History, "bob", 10)).entries == ()
        assert text not in dump(gateway)
    async with gateway.client("bob", "d9") as bob:
        told = ["recalled by alice", "lost", "lost", "told recalled by alice"]
        assert await pushed(bob, 4) == told


@pytest.mark.parametrize("what", ["recall", "edit"])
async def test_a_gateway_that_died_on_the_way(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """HP-13.4-8 and G10: it has changed the message and told nobody; the repetition on another
    gateway tells everyone."""
    async with two_workers(settings, clock) as (one, two):
        async with one.client("alice") as alice:
            message = await sent(alice, "bob", "oops")
            text = secret(one, message)

            monkeypatch.setattr(one.inside.link, "run_packed", killed)
            call = recall(alice, "bob", message) if what == "recall" else None
            assert await (call or edit(alice, "bob", message, "new")) == "unavailable"
            monkeypatch.undo()
            assert text not in dump(one)
        async with one.client("bob", "d1") as bob:
            assert await pushed(bob, 1) == ["recalled by alice" if what == "recall" else "new 1"]
        clock.advance(3600)  # also after the window
        async with two.client("alice") as alice:
            call = recall(alice, "bob", message) if what == "recall" else None
            assert await (call or edit(alice, "bob", message, "new")) == "ok"
        async with one.client("bob", "d2") as bob:
            says = "recalled by alice" if what == "recall" else "new 1"
            assert await pushed(bob, 2) == [says, f"told {says}"]


async def test_changes_at_the_same_time(settings: Settings, clock: FakeClock) -> None:
    """HP-13.4-7, HP-13.4-9: two devices on two gateways edit; each counts, and all places agree."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice", "d1") as first,
        two.client("alice", "d2") as second,
    ):
        for turn in range(5):
            message = await sent(first, "bob", f"original {turn}")
            answers = await asyncio.gather(
                *(
                    edit(device, "bob", message, f"{name} {turn}")
                    for device, name in ((first, "a"), (second, "b"))
                )
            )
            assert answers == ["ok", "ok"]
            assert (await history(first, "bob"))[0] in (f"a {turn} 2", f"b {turn} 2")
            edited, recalled = await asyncio.gather(
                edit(first, "bob", message, "c"), recall(second, "bob", message)
            )
            assert edited in ("ok", "unknown_message")
            assert recalled == "ok"
            assert (await history(first, "bob"))[0] == "recalled by alice"


async def test_a_repeat_does_not_bring_back_what_was_recalled(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-13.4-9 and G2: a send that reached the conversation alone, recalled, and then repeated."""
    async with two_workers(settings, clock) as (one, two), one.client("alice") as alice:
        monkeypatch.setattr(one.inside.link, "run_packed", killed)
        assert isinstance(await alice.say("bob", "oops", "same"), frames.Error)
        monkeypatch.undo()
        async with two.client("alice", "d2") as other:
            ((seq, _),) = [
                (entry.seq, entry.message)
                for entry in (await other.ask(frames.History, "bob", 10)).entries
            ]
            assert await recall(other, "bob", frames.Accepted(b"", 0, seq)) == "ok"
        assert accepted(await alice.say("bob", "oops", "same")).seq == seq
        async with two.client("bob") as bob:
            assert await pushed(bob, 2) == ["recalled by alice", "told recalled by alice"]
            assert await one.under_way(bob) == []


async def test_who_is_blocked(running: RunningWorker) -> None:
    """HP-13.4-4: an edit says something new, so it is refused; a recall is not."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        message = await sent(alice, "bob", "hello")
        await bob.send(frames.Block(bob.request_id(), "alice"))
        await bob.until(frames.Ok)
        async with running.client("alice", "d2") as other:
            assert await edit(other, "bob", message, "x") == "blocked"
            assert await recall(other, "bob", message) == "ok"


async def test_a_time_to_live_stays(gateway: RunningWorker) -> None:
    """HP-12.2-1, HP-13.4-2: an edited message ends when it would have; and so does a tombstone."""
    clock = gateway.clock
    assert clock is not None
    async with gateway.client("alice") as alice:
        edited = await sent(alice, "bob", "a", ttl=60)
        recalled = await sent(alice, "bob", "b", ttl=60)
        await sent(alice, "bob", "c")
        assert await edit(alice, "bob", edited, "A") == "ok"
        assert await recall(alice, "bob", recalled) == "ok"
        clock.advance(59.9)
        async with gateway.client("bob", "d1") as bob:
            assert (await pushed(bob, 3)) == ["A 1", "recalled by alice", "c"]
        clock.advance(0.2)
        assert await edit(alice, "bob", edited, "B") == "unknown_message"
        async with gateway.client("bob", "d2") as bob:
            assert bob.connected.lost == (1, 2)
            assert await pushed(bob, 1) == ["c"]
        await gateway.inside.sweep()
        assert await history(alice, "bob") == ["c"]


class Gate(FakeClock):
    """A clock whose sleepers wait until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """See `FakeClock`."""
        await super().sleep(seconds)
        await self.open.wait()


@pytest.mark.parametrize("repeated", [False, True], ids=["first", "repeated"])
async def test_only_the_answer_to_a_recall_waits(settings: Settings, repeated: bool) -> None:
    """HP-13.4-1: everyone is told at once; `ok` comes when no gateway pushes the text any more, and
    no earlier where the recall was done before, since nobody knows how long ago."""
    clock = Gate()
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("bob") as bob,
    ):
        message = await sent(alice, "bob", "oops")
        assert await edit(alice, "bob", message, "edited") == "ok"
        assert clock.slept == []
        asked = [frames.Recall(alice.request_id(), "bob", message.seq)]
        if repeated:
            asked.append(frames.Recall(alice.request_id(), "bob", message.seq))
        for frame in asked:
            await alice.send(frame)
        assert await pushed(bob, 3) == ["oops", "told edited 1", "told recalled by alice"]
        await until(lambda: len(clock.slept) == len(asked))
        assert {*clock.slept} == {UNSEEN_S}
        came = await one.under_way(alice)
        assert came
        assert not [frame for frame in came if isinstance(frame, frames.Ok)]
        clock.open.set()
        answers = [await alice.expect(frames.Ok) for _ in asked]
        assert {answer.id for answer in answers} == {frame.id for frame in asked}


class Passing(FakeClock):
    """A clock on which time passes while somebody sleeps."""

    async def sleep(self, seconds: float) -> None:
        """See `FakeClock`."""
        await super().sleep(seconds)
        self.advance(seconds)


async def test_a_push_that_was_held_up(settings: Settings) -> None:
    """HP-13.4-1: what Redis published of the message comes to a gateway after `ok` to its recall.
    The device used to be sent the text then."""
    held: list[tuple[bytes, bytes]] = []

    def hold(channel: bytes, payload: bytes) -> bool:
        held.append((channel, payload))
        return True

    async with (
        two_workers(settings, Passing()) as (one, two),
        one.client("alice") as alice,
        two.client("bob") as bob,
    ):
        with two.inside.losing(hold):
            message = await sent(alice, "bob", "oops")
            assert await recall(alice, "bob", message) == "ok"
            await until(lambda: len(held) == 2)
        for channel, payload in held:
            two.inside.hub.heard(channel, payload)
        assert await pushed(bob, 2) == ["recalled by alice", "told recalled by alice"]


async def test_a_page_that_was_held_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """HP-13.4-1: what a gateway read of the store before a recall comes to it after `ok`."""
    async with two_workers(settings, Passing()) as (one, two), one.client("alice") as alice:
        message = await sent(alice, "bob", "oops")
        run, read, go_on = two.inside.link.run, asyncio.Event(), asyncio.Event()

        async def late(reply: Awaitable[Any]) -> Any:
            await reply
            read.set()
            await go_on.wait()
            return await reply

        def slowly(script: Any, *said: Any, **more: Any) -> asyncio.Future[Any]:
            reply = run(script, *said, **more)
            reads = script is SCRIPTS["conversation_read"]
            return asyncio.ensure_future(late(reply)) if reads else reply

        monkeypatch.setattr(two.inside.link, "run", slowly)

        async def connects() -> list[str]:
            async with two.client("bob") as bob:
                return await pushed(bob, 2)

        coming = asyncio.create_task(connects())
        await read.wait()
        assert await recall(alice, "bob", message) == "ok"
        go_on.set()
        assert await coming == ["recalled by alice", "told recalled by alice"]


async def test_on_a_full_redis(running: RunningWorker) -> None:
    """HP-13.4-1, G12: a recall, which frees memory, is done and told; an edit is refused."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        message = await sent(alice, "bob", "oops")
        with redis.Redis.from_url(running.redis_url) as raw:
            raw.config_set("maxmemory", 1)
            try:
                assert await edit(alice, "bob", message, "new") == "unavailable"
                for _ in range(2):
                    assert await recall(alice, "bob", message) == "ok"
            finally:
                raw.config_set("maxmemory", 0)
        assert await pushed(bob, 2) == ["oops", "told recalled by alice"]
        assert await history(bob, "alice") == ["recalled by alice"]
