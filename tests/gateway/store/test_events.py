"""Events: the scripts in Lua and the functions here build the same bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store import events
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry
from gateway.store.inbox import InboxStore
from tests.gateway.store.conftest import Store, message_id, session

names = st.from_regex(r"[A-Za-z0-9._@+\-]{1,64}", fullmatch=True)


@given(st.integers(0, 2**53))
def test_revoked_is_read_as_written(before_ms: int) -> None:
    """G8: every gateway hears up to which time tokens are void."""
    assert events.parse(events.revoked(before_ms)) == events.Revoked(before_ms)


@given(st.text("0123456789abcdef", min_size=32, max_size=32))
def test_a_voided_token_is_read_as_written(digest: str) -> None:
    """HP-6.4-5: every gateway hears which."""
    assert events.parse(events.token_voided(digest)) == events.TokenVoided(digest)


@given(names | st.just(""))
def test_kicked_is_read_as_written(device: str) -> None:
    """Every gateway hears which device is to go; the empty name means all."""
    assert events.parse(events.kicked(device)) == events.Kicked(device)


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=200))
def test_what_is_told_to_a_group_is_read_as_written(group: bytes, record: bytes) -> None:
    """HP-16.1-7: the same bytes on each member's channel name the group that opens them."""
    payload = events.relayed_to_group(group.hex(), record)
    assert events.parse(payload) == events.Relayed(record, group.hex())
    assert events.parse(events.relayed(record)) == events.Relayed(record)


@pytest.mark.parametrize("payload", [b"", b"\x00", b"\x7fabc", b"\xff"])
def test_an_unknown_kind_is_passed_over(payload: bytes) -> None:
    """G10: gateways of two versions serve a region while it is being upgraded."""
    assert events.parse(payload) is None


async def test_a_stored_message_is_published_as_it_is_stored(store: Store) -> None:
    """G3: what a live session is pushed has the numbers and the time that the inbox and the
    conversation give it."""
    talks = ConversationStore(store.link, store.keys)
    inboxes = InboxStore(store.link, store.keys, talks)
    record, ends_ms, found = bytes(range(256)), store.clock.ms + 1000, []
    async with store.hearing(store.inboxes.channel(store.app.id, "ann")) as heard:
        for other, ends in (("bob", None), ("cy", ends_ms), ("bob", None)):
            new = NewEntry(message_id(), record, store.clock.ms, other, expires_ms=ends)
            to = talks.direct(store.app.id, other, "ann")
            await talks.send(store.app.id, store.tier, to, new)
            found.append(events.parse((await heard.get())[1]))
    page = await inboxes.page(store.app.id, "ann", 0)
    waiting = await inboxes.messages(
        store.app.id, store.tier, "ann", page.references, store.clock.ms
    )
    assert [ref[:3] for ref, _ in waiting] == [(1, "bob", 1), (2, "cy", 1), (3, "bob", 2)]
    assert found == [
        events.Stored(ref.number, ref.seq, ref.peer, message)
        for ref, message in waiting
        if message is not None
    ]
    assert {ref.time_ms for ref, _ in waiting} == {store.clock.ms}


async def test_attaching_tells_the_session_before(store: Store) -> None:
    """SPEC 5.5: the older session of a device hears that it was replaced, by whom and as which."""
    async with store.hearing(store.inboxes.channel(store.app.id, "ann")) as heard:
        await store.attach("ann", "phone", "one")
        await store.attach("ann", "tablet", "other")  # another device: nobody is replaced
        await store.attach("ann", "phone", "one")  # the same session: nor here
        await store.attach("ann", "phone", "two")
        assert events.parse((await heard.get())[1]) == events.Attached(session("two"), "phone")
        assert heard.empty()
