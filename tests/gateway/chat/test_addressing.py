"""Mirrors gateway/chat/addressing.py: who is on the other end."""

from __future__ import annotations

import pytest
from homeport import codes

from gateway.chat.addressing import Conversations, address
from gateway.chat.refused import Refused
from gateway.store.conversations import ConversationStore
from tests.harness import RunningWorker
from tests.inside import Inside

GROUP = "0" * 32


@pytest.mark.parametrize(
    ("name", "kind", "id"),
    [
        ("bob", "user", "bob"),
        ("a.b_c@d+e-1", "user", "a.b_c@d+e-1"),
        (f"g:{GROUP}", "group", GROUP),
        ("r:hall", "room", "hall"),
    ],
)
def test_each_end_is_one_of_three(name: str, kind: str, id: str) -> None:
    """HP-3.5-1: a user, a group or a room; what stands before an id says which."""
    assert address(name) == (kind, id)


@pytest.mark.parametrize(
    "name", ["", "a b", "g:", "g:team", f"g:{GROUP}0", "r:", "r:a b", "r:g:x", "d:alice:bob", "x:y"]
)
def test_other_forms_are_nobody(name: str) -> None:
    """HP-3.5-2."""
    with pytest.raises(Refused) as refused:
        address(name)
    assert refused.value.code is codes.UNKNOWN_RECIPIENT


async def test_a_conversation_is_for_those_who_are_in_it(running: RunningWorker) -> None:
    """HP-11.4-2: what each request asks before it tells anything; a user names a direct one by its
    other end only, and the app itself by its name only."""
    inside = Inside(running.worker)
    store = ConversationStore(inside.link, inside.keys)
    chat, conversations = inside.chat, Conversations(inside.groups, store)
    principals, app_id = inside.principals, running.app.id
    async with (
        principals.user(app_id, "alice") as alice,
        principals.user(app_id, "eve") as eve,
        principals.app(app_id) as app,
    ):
        group = await chat.groups.create(alice, "c", "team", ["bob"])
        found = await conversations.find(alice, f"g:{group}")
        assert (found.name, set(found.users)) == (f"g:{group}", {"alice", "bob"})
        assert found.place is not None
        assert found.place.role == "owner"
        direct = await conversations.find(alice, "bob")
        assert (direct.name, direct.users, direct.group) == ("d:alice:bob", ("alice", "bob"), None)
        alone = await conversations.find(alice, "alice")
        assert (alone.name, alone.users) == ("d:alice:alice", ("alice",))
        assert (await conversations.find(app, f"g:{group}")).users == found.users
        assert (await conversations.find(app, "d:alice:bob")).name == "d:alice:bob"
        for named in (direct, alone):
            to = conversations.recipients(alice.app, named)
            assert to.keys.member == f"{app_id}:{named.name}"
        for who, peer, code in (
            (eve, f"g:{group}", codes.NOT_A_MEMBER),
            (alice, f"g:{GROUP}", codes.UNKNOWN_GROUP),
            (alice, "g:x", codes.UNKNOWN_RECIPIENT),
            (alice, "r:hall", codes.UNKNOWN_RECIPIENT),
            (eve, "d:alice:bob", codes.UNKNOWN_RECIPIENT),
            (app, "bob", codes.UNKNOWN_RECIPIENT),
            (app, "d:bob:alice", codes.UNKNOWN_RECIPIENT),
            (app, f"g:{GROUP}", codes.UNKNOWN_GROUP),
        ):
            with pytest.raises(Refused) as refused:
                await conversations.find(who, peer)
            assert refused.value.code is code, peer
