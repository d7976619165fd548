"""Recall and edit over real sockets: who may, when, and what everyone then has."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from homeport import frames
from homeport.limits import MAX_EDITS
from structlog.testing import capture_logs

from gateway.apps.tiers import Tier
from gateway.config import Settings
from gateway.redis.errors import Unavailable
from gateway.store.replacing import RewriteStore
from tests.gateway.chat.grouping import created, done
from tests.gateway.chat.recalling import edit, history, pushed, recall, sent
from tests.gateway.chat.test_options import dump, records
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RunningWorker, accepted, until

DAY = 24 * 3600


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
            secret = next(r for r in records(one) if r.startswith(oops[0]))
            assert await recall(alice, "bob", oops) == "ok"
            for online in (alice, other, bob):
                told = ["before", "oops", "after", "told recalled by alice"]
                assert await pushed(online, 4) == told
            for client, peer in ((other, "bob"), (bob, "alice")):
                assert await history(client, peer) == ["after", "recalled by alice", "before"]
            assert secret[-40:] not in dump(one)
        async with one.client("bob", "late") as bob:
            told = ["before", "recalled by alice", "after", "told recalled by alice"]
            assert await pushed(bob, 4) == told


async def test_an_edit_reaches_every_device(settings: Settings, clock: FakeClock) -> None:
    """HP-13.4-1, HP-13.4-2, HP-13.4-3: the new text in its place, and in the notice."""
    async with two_workers(settings, clock) as (one, two):
        async with one.client("alice") as alice, two.client("bob") as bob:
            typo = await sent(alice, "bob", "teh", mentions=("carol",))
            secret = next(r for r in records(one) if r.startswith(typo[0]))
            clock.advance(3)
            assert await edit(alice, "bob", typo, "the") == "ok"
            assert await pushed(bob, 2) == ["teh", "told the 1"]
            assert await history(bob, "alice") == ["the 1"]
            assert secret[-40:] not in dump(one)
        async with one.client("bob", "late") as bob:
            first = (await bob.expect(frames.Push)).message
            assert (first.id, first.time, first.body) == (*typo, b"the")
            assert first.extra == frames.Extra(("carol",), edits=1, edited=clock.ms)


async def test_a_group(gateway: RunningWorker) -> None:
    """HP-13.4-2, HP-13.4-3: in each member's inbox, of those who are away too."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = f"g:{await created(alice, 'bob', 'carol')}"
        oops, typo = await sent(bob, group, "oops"), await sent(bob, group, "teh")
        before = {r[-40:] for r in records(gateway) if r[:16] in (oops[0], typo[0])}
        assert len(before) == 2
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
    """HP-13.4-5: another id, time, conversation or user; a notice; a kind that is no text."""
    async with gateway.client("alice") as alice, gateway.client("eve") as eve:
        kept = await sent(alice, "bob", "kept")
        unkept = await sent(alice, "bob", "unkept", history=False)
        group_id = await created(alice, "bob")
        group = f"g:{group_id}"
        notice = next(r for r in records(gateway) if group.encode() in r)[:16]
        for peer, message in (
            ("bob", (b"x" * 16, kept[1])),
            ("bob", (kept[0], kept[1] + 60_000)),
            ("bob", (kept[0], 2**53 - 1)),
            ("carol", kept),
            ("carol", unkept),
            (group, kept),
            (group, unkept),
            (group, (notice, kept[1])),
        ):
            assert await recall(alice, peer, message) == "unknown_message", (peer, message)
            assert await edit(alice, peer, message, "x") == "unknown_message"
        for message in (kept, unkept):
            assert await recall(eve, "bob", message) == "unknown_message"
            assert await edit(eve, "alice", message, "x") == "unknown_message"
        for peer in ("r:lobby", "g:x", "a b"):
            assert await recall(alice, peer, kept) == "unknown_recipient"
            assert await edit(alice, peer, kept, "x") == "unknown_recipient"
        assert await recall(alice, "g:" + "0" * 32, kept) == "unknown_group"
        assert await edit(alice, "bob", kept, "x" * 8193) == "body_too_large"
        told = await alice.ask(frames.Send, "picture", "bob", "image", b"\x00")
        picture = (told.id, told.time)
        assert await edit(alice, "bob", picture, "x") == "not_text"
        assert await recall(alice, "bob", picture) == "ok"


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
        late = (late[0], early[1])  # what the client says of the time changes nothing
        clock.now = (early[1] + 1000 * window) / 1000 - 0.001
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
        notices = [f"told {number} {number}" for number in range(1, 11)]
        told = ["recalled by alice", *notices, "told recalled by alice"]
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


@pytest.mark.parametrize("acked", [(), ("alice",), ("bob",)], ids=["none", "own", "peer's"])
async def test_without_history(gateway: RunningWorker, acked: tuple[str, ...]) -> None:
    """HP-13.4-5: what is in no log is found in the inbox of either user, while one has it."""
    async with gateway.client("alice") as alice:
        message = await sent(alice, "bob", "unkept", history=False)
        secret = records(gateway)[0]
        for user in acked:
            async with gateway.client(user, "d1") as client:
                await client.send(frames.Ack((await client.until(frames.Push)).seq))
                await client.send(frames.Ping())
                await client.until(frames.Pong)
    async with gateway.client("alice", "d2") as alice:
        for text in ("new", "newer"):
            assert await edit(alice, "bob", message, text) == "ok"
        assert await recall(alice, "bob", message) == "ok"
        assert await history(alice, "bob") == []
    assert secret[-40:] not in dump(gateway)
    async with gateway.client("bob", "d9") as bob:
        last = ["told new 1", "told newer 2", "told recalled by alice"]
        expected = [*([] if "bob" in acked else ["recalled by alice"]), *last]
        assert await pushed(bob, len(expected)) == expected


@pytest.mark.parametrize("where", ["log", "inbox"])
@pytest.mark.parametrize("what", ["recall", "edit"])
async def test_a_gateway_that_died_on_the_way(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, what: str, where: str
) -> None:
    """HP-13.4-8 and G10: it has changed one place; the repetition on another does the rest."""
    async with two_workers(settings, clock) as (one, two):
        async with one.client("alice") as alice:
            message = await sent(alice, "bob", "oops", history=where == "log")
            secret = next(r for r in records(one) if r.startswith(message[0]))

            async def dies(*_: Any) -> None:
                raise Unavailable("killed")

            monkeypatch.setattr(RewriteStore, "spread", dies)
            call = recall(alice, "bob", message) if what == "recall" else None
            assert await (call or edit(alice, "bob", message, "new")) == "unavailable"
            monkeypatch.undo()
            assert secret[-40:] in dump(one)
        clock.advance(3600)  # also after the window
        async with two.client("alice") as alice:
            call = recall(alice, "bob", message) if what == "recall" else None
            assert await (call or edit(alice, "bob", message, "new")) == "ok"
            assert secret[-40:] not in dump(one)
        async with one.client("bob") as bob:
            text = "recalled by alice" if what == "recall" else "new 1"
            assert await pushed(bob, 2) == [text, f"told {text}"]


async def test_a_message_of_another_conversation_is_no_word_in_the_log(
    gateway: RunningWorker,
) -> None:
    """HP-13.4-5: any client can name one, as often as its rate allows. Each is counted, as every
    refusal is, and none is called a record that was tampered with."""
    async with gateway.client("alice") as alice:
        message = await sent(alice, "bob", "kept", history=False)
        with capture_logs() as logs:
            assert await recall(alice, "carol", message) == "unknown_message"
        assert [line["event"] for line in logs] == ["refused"]
    assert gateway.inside.counts.errors["unknown_message"] == 1


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
            found = {r for r in records(one) if r.startswith(message[0])}
            assert len(found) == 1
            assert (await history(first, "bob", 1))[0] in (f"a {turn} 2", f"b {turn} 2")
            edited, recalled = await asyncio.gather(
                edit(first, "bob", message, "c"), recall(second, "bob", message)
            )
            assert edited in ("ok", "unknown_message")
            assert recalled == "ok"
            assert len({r for r in records(one) if r.startswith(message[0])}) == 1
            assert await history(first, "bob", 1) == ["recalled by alice"]


async def test_a_copy_that_was_under_way_is_not_stored(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-13.4-9 and G2: a send that got into some places only, recalled, and then repeated."""
    async with two_workers(settings, clock) as (one, two), one.client("alice") as alice:
        inboxes = one.inside.inboxes

        deliver = inboxes.deliver

        def only_own(app_id: str, tier: Tier, users: Any, *more: Any) -> Any:
            return deliver(app_id, tier, ("alice",), *more)

        monkeypatch.setattr(inboxes, "deliver", only_own)
        told = accepted(await alice.say("bob", "oops", "same"))
        monkeypatch.undo()
        async with two.client("alice", "d2") as other:
            assert await recall(other, "bob", (told.id, told.time)) == "ok"
        assert isinstance(await alice.say("bob", "oops", "same"), frames.Ok)
        async with two.client("bob") as bob:
            assert await pushed(bob, 1) == ["told recalled by alice"]
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


async def test_a_cursor_in_an_inbox_that_was_written_anew_is_good(gateway: RunningWorker) -> None:
    """HP-7.2-4, G3: before, at and behind the changed message, with acknowledged ones before."""
    async with gateway.client("alice") as alice:
        messages = [await sent(alice, "bob", str(number)) for number in range(6)]
    async with gateway.client("bob", "d1") as bob:
        pushes = [await bob.expect(frames.Push) for _ in range(6)]
        epoch = bob.connected.cursor.epoch
        await bob.send(frames.Ack(2))
        await bob.send(frames.Ping())
        await bob.expect(frames.Pong)
    async with gateway.client("alice") as alice:
        assert await recall(alice, "bob", messages[3]) == "ok"
    for push in pushes[1:]:
        cursor = frames.Cursor(epoch, push.ms, push.seq)
        async with gateway.client("bob", f"at{push.seq}", cursor=cursor) as bob:
            assert bob.connected.resumed
            assert bob.connected.lost is None
            texts = [*"012", "recalled by alice", *"45", "told recalled by alice"]
            assert await pushed(bob, 7 - push.seq) == texts[push.seq :]


async def test_a_cursor_that_names_an_edited_message_by_another_time(
    gateway: RunningWorker,
) -> None:
    """HP-7.2-4: it is of a numbering that was lost; an edited message is not one that has ended."""
    clock = gateway.clock
    assert clock is not None
    async with gateway.client("alice") as alice:
        message = await sent(alice, "bob", "teh")
        clock.advance(10)
        await sent(alice, "bob", "next")
        assert await edit(alice, "bob", message, "the") == "ok"
    async with gateway.client("bob", "d1") as bob:
        push = await bob.expect(frames.Push)
        epoch = bob.connected.cursor.epoch
    for ms, resumed in ((push.ms, True), (push.ms + 5, False)):
        cursor = frames.Cursor(epoch, ms, push.seq)
        async with gateway.client("bob", "d2", cursor=cursor) as bob:
            assert bob.connected.resumed is resumed
