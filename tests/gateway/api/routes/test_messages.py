"""Messages over the API: what a back end says for its users, and what it may not."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from homeport import codes, frames
from homeport.limits import MAX_EDITS

from tests.gateway.api.calling import Calling, code_of


async def texts(api: Calling, conversation: str = "d:alice:bob") -> list[str]:
    """The texts of a conversation, the newest first."""
    found = await api.ask("GET", f"/v1/conversations/{conversation}/messages")
    assert found.status_code == 200, found.text
    return [each["text"] for each in found.json()["items"]]


async def test_a_message_reaches_its_recipient_and_can_be_read_again(api: Calling) -> None:
    """G1: what was answered 201 is in the conversation, and pushed to who is there."""
    async with api.running.client("bob") as bob:
        sent = await api.send(text="Hello, Bob!")
        pushed = await bob.until(frames.Push)
    assert sent.status_code == 201
    told = sent.json()
    assert (pushed.message.sender, pushed.message.body) == ("alice", b"Hello, Bob!")
    assert told["id"] == pushed.message.id.hex()
    assert (told["conversation"], told["seq"]) == ("d:alice:bob", 1)
    again = (await api.ask("GET", sent.headers["location"])).json()
    assert (again["from"], again["text"], again["id"]) == ("alice", "Hello, Bob!", told["id"])


async def test_what_a_phone_sent_and_a_server_repeats_is_one_message(api: Calling) -> None:
    """G2, HP-3.4-1: an id is made of app, sender and client id, whichever way a message came; and
    the server's repetition has it remembered for a day, not for ten minutes."""
    async with api.running.client("alice") as alice:
        ok = await alice.ask(frames.Send, "same", "bob", "text", b"hi")
    repeated = await api.send(client_id="same")
    assert repeated.status_code == 200
    assert repeated.json() | {"repeated": True} == repeated.json()
    assert repeated.json()["id"] == ok.id.hex()
    assert await texts(api) == ["hi"]
    inside = api.running.inside
    bucket = inside.keys.conversation(api.app.id, "d:alice:bob").bucket
    left_ms = await inside.link.call("PTTL", inside.keys.sent(bucket, ok.id))
    assert left_ms > 23 * 3600 * 1000


async def test_what_a_server_sent_and_a_phone_repeats_stays_remembered(api: Calling) -> None:
    """The shorter window of a WebSocket must not take from the day that the API promises."""
    first = (await api.send(client_id="same")).json()
    async with api.running.client("alice") as alice:
        ok = await alice.ask(frames.Send, "same", "bob", "text", b"hi")
    assert ok.id.hex() == first["id"]
    inside = api.running.inside
    bucket = inside.keys.conversation(api.app.id, "d:alice:bob").bucket
    assert await inside.link.call("PTTL", inside.keys.sent(bucket, ok.id)) > 23 * 3600 * 1000


async def test_a_batch_says_of_each_recipient_what_became_of_it(api: Calling) -> None:
    """One who blocks the sender takes nothing from the others; repeated, each gets it once more as
    little as before, although their conversations share a bucket."""
    async with api.running.client("carol") as carol:
        await carol.ask(frames.Block, "alice")
    users = [f"u{number}" for number in range(30)]
    asked = {"from": "alice", "to": [*users, "carol"], "client_id": "b", "text": "all"}
    first = (await api.ask("POST", "/v1/messages/batch", json=asked)).json()["results"]
    assert [each["to"] for each in first] == [*users, "carol"]
    assert first[-1]["error"]["code"] == "blocked"
    assert len({each["sent"]["id"] for each in first[:-1]}) == len(users)
    second = (await api.ask("POST", "/v1/messages/batch", json=asked)).json()["results"]
    assert all(each["sent"]["repeated"] for each in second[:-1])
    for user in users:
        ends = sorted(("alice", user))
        assert await texts(api, f"d:{ends[0]}:{ends[1]}") == ["all"]


async def test_bytes_and_options_come_through(api: Calling) -> None:
    """A body that is no text is base64; the options are those of the wire."""
    data = base64.b64encode(b"\xff\x00").decode()
    await api.send(client_id="first")
    sent = await api.send(
        client_id="b", text=None, data=data, kind="raw", mentions=["bob"], reply=1, ttl=60
    )
    read = (await api.ask("GET", sent.headers["location"])).json()
    assert (read["data"], read["kind"], read["mentions"]) == (data, "raw", ["bob"])
    assert (read["reply"], read["expires"]) == (1, read["time"] + 60_000)


async def test_a_message_to_a_group_and_to_a_room(api: Calling) -> None:
    """A member speaks in a group; in a room, whoever the back end names, without a seat."""
    async with api.running.client("alice") as alice:
        made = await alice.ask(frames.GroupCreate, "g", "team", ["bob"])
        group = made.id
    sent = (await api.send(to=f"g:{group}")).json()
    assert sent["conversation"] == f"g:{group}"
    assert code_of(await api.send(to=f"g:{group}", **{"from": "eve"}), 403) == "not_a_member"
    assert code_of(await api.send(to=f"g:{'0' * 32}"), 404) == "unknown_group"
    async with api.running.client("bob") as bob:
        await bob.ask(frames.RoomJoin, "lobby")
        to_room = await api.send(client_id="r", to="r:lobby", priority=2)
        assert (await bob.until(frames.RoomPush)).message.sender == "alice"
    assert (to_room.json()["conversation"], to_room.json()["seq"]) == (None, 0)


async def test_the_app_recalls_and_edits_however_old_a_message_is(
    api: Calling,
) -> None:
    """Users have minutes for it; their app has as long as the message is kept."""
    sent = await api.send()
    where = sent.headers["location"]
    assert api.running.clock is not None
    api.running.clock.advance(api.app.recall_s + 3600)
    assert (await api.ask("PATCH", where, json={"text": "better"})).status_code == 204
    read = (await api.ask("GET", where)).json()
    assert (read["text"], read["from"], read["edits"]) == ("better", "alice", 1)
    assert (await api.ask("DELETE", where)).status_code == 204
    assert (await api.ask("DELETE", where)).status_code == 204
    assert (await api.ask("GET", where)).json()["kind"] == "homeport.recall"
    assert code_of(await api.ask("PATCH", where, json={"text": "x"}), 404) == "unknown_message"


async def test_pages_follow_each_other_by_cursors_of_their_own(api: Calling) -> None:
    """Each message is on one page, in either order; a cursor opens for its own list only."""
    for number in range(7):
        await api.send(client_id=f"{number}", text=f"{number}")
    for newest in (True, False):
        found, cursor = [], None
        for _ in range(4):
            query: dict[str, Any] = {"limit": 2, "oldest_first": not newest}
            if cursor is not None:
                query["cursor"] = cursor
            page = await api.ask("GET", "/v1/conversations/d:alice:bob/messages", params=query)
            found += [each["text"] for each in page.json()["items"]]
            cursor = page.json()["next_cursor"]
        assert found == sorted(map(str, range(7)), reverse=newest)
        assert cursor is None
    first = await api.ask("GET", "/v1/conversations/d:alice:bob/messages", params={"limit": 2})
    stolen = {"cursor": first.json()["next_cursor"]}
    for conversation in ("d:alice:carol", "d:bob:carol"):
        other = await api.ask("GET", f"/v1/conversations/{conversation}/messages", params=stolen)
        assert code_of(other, 422) == "invalid_field"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"to": None}, 422, "invalid_field"),
        ({"to": "x:y"}, 422, "invalid_field"),
        ({"to": ["bob"]}, 422, "invalid_field"),
        ({"from": "a b"}, 422, "invalid_field"),
        ({"client_id": ""}, 422, "invalid_field"),
        ({"client_id": "x" * 65}, 422, "invalid_field"),
        ({"client_id": 7}, 422, "invalid_field"),
        ({"text": None}, 422, "invalid_field"),
        ({"data": "aGk="}, 422, "invalid_field"),
        ({"text": None, "data": "no base64"}, 422, "invalid_field"),
        ({"ttl": 0}, 422, "invalid_field"),
        ({"ttl": "60"}, 422, "invalid_field"),
        ({"ttl": 60, "online_only": True}, 422, "invalid_field"),
        ({"kind": "homeport.recall"}, 422, "invalid_field"),
        ({"mentions": ["no one"]}, 422, "invalid_field"),
        ({"priority": 1}, 422, "unknown_recipient"),
        ({"clientid": "typo"}, 422, "invalid_field"),
        ({"text": "x" * (32 * 1024 + 1)}, 413, "body_too_large"),
    ],
)
async def test_a_wrong_send_is_refused_and_stores_nothing(
    api: Calling, fields: dict[str, Any], status: int, code: str
) -> None:
    """A typo is not silent, and no value of the request comes back."""
    answer = await api.send(**fields)
    assert code_of(answer, status) == code
    assert "typo" not in answer.text.replace("clientid", "")
    assert await texts(api) == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": []}, "invalid_field"),
        ({"to": ["bob", "bob"]}, "invalid_field"),
        ({"to": [f"u{number}" for number in range(101)]}, "invalid_field"),
        ({"to": ["g:" + "0" * 32]}, "invalid_field"),
    ],
)
async def test_a_wrong_batch_is_refused_whole(
    api: Calling, fields: dict[str, Any], code: str
) -> None:
    """Nobody gets anything of it."""
    asked = {"from": "alice", "client_id": "b", "text": "all", **fields}
    assert code_of(await api.ask("POST", "/v1/messages/batch", json=asked), 422) == code
    assert await texts(api) == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/conversations/d:alice:bob/messages/9", None, 404, "unknown_message"),
        ("DELETE", "/v1/conversations/d:alice:bob/messages/9", None, 404, "unknown_message"),
        ("GET", "/v1/conversations/d:bob:alice/messages", None, 422, "unknown_recipient"),
        ("GET", "/v1/conversations/alice/messages", None, 422, "invalid_field"),
        ("GET", f"/v1/conversations/g:{'0' * 32}/messages", None, 404, "unknown_group"),
        ("GET", "/v1/conversations/d:alice:bob/messages?limit=0", None, 422, "invalid_field"),
        ("GET", "/v1/conversations/d:alice:bob/messages?cursor=x", None, 422, "invalid_field"),
        ("DELETE", "/v1/conversations/d:alice:bob/messages/0", None, 422, "invalid_field"),
        ("DELETE", "/v1/conversations/d:alice:bob/messages", None, 405, "method_not_allowed"),
        ("PATCH", "/v1/conversations/d:alice:bob/messages/1", {}, 422, "invalid_field"),
        ("PATCH", "/v1/conversations/d:alice:bob/messages/1", {"text": "x" * 40_000}, 413,
         "body_too_large"),
    ],
)  # fmt: skip
async def test_what_is_asked_of_messages_wrongly(
    api: Calling, method: str, path: str, body: Any, status: int, code: str
) -> None:
    """Each misuse has a code of its own."""
    await api.send()
    assert code_of(await api.ask(method, path, json=body), status) == code


async def test_an_edit_ends_at_the_limit_that_users_have(api: Calling) -> None:
    """A message changes ten times at most, whoever does it; and a message that is no text never."""
    where = (await api.send()).headers["location"]
    for number in range(MAX_EDITS):
        assert (await api.ask("PATCH", where, json={"text": f"{number}"})).status_code == 204
    over = await api.ask("PATCH", where, json={"text": "over"})
    assert code_of(over, 409) == codes.EDIT_LIMIT.name
    raw = (await api.send(client_id="raw", kind="raw")).headers["location"]
    assert code_of(await api.ask("PATCH", raw, json={"text": "x"}), 409) == codes.NOT_TEXT.name
