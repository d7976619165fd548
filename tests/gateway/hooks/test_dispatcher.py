"""The dispatcher, with a real receiver over HTTPS."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from standardwebhooks import Webhook as Checker

from gateway.hooks.sender import ANSWER_BYTES
from gateway.store.hook_log import GONE, HookLogs
from gateway.store.hook_queue import HookQueue
from tests.gateway.hooks.conftest import Dispatching, give
from tests.gateway.hooks.receiving import Receiver, receiving
from tests.gateway.store.conftest import APP_ID, Store, message_id
from tests.gateway.store.hooking import event
from tests.harness import until


async def note(store: Store, count: int = 1, type_: str = "message.sent") -> None:
    """So many events happen, in a few buckets."""
    queue = HookQueue(store.link, store.keys)
    for number in range(count):
        said = event(store, type_)
        await queue.note(APP_ID, f"u{number % 7}", said, message_id(), store.clock.ms)


async def attempts(store: Store, webhook_id: str) -> list[tuple[int, str]]:
    """Status and error of each attempt to send the first event."""
    async with store.admin() as admin:
        page = await admin.webhooks.events(APP_ID, webhook_id, store.clock.ms, 0)
    return [(each.status, each.error) for kept in page.events[:1] for each in kept.attempts]


async def test_each_event_comes_once_signed_and_numbered(
    store: Store, receiver: Receiver, dispatching: Dispatching
) -> None:
    """A receiver checks signatures with the Standard Webhooks package; numbers are 1 to n without a
    hole, and each event has an id of its own."""
    webhook = await give(store, receiver.url)
    async with dispatching():
        await note(store, 60)
        await until(lambda: len(receiver.came) >= 60)
    checker = Checker(webhook.secrets[0])
    bodies = [checker.verify(body, headers) for headers, body in receiver.came]
    assert sorted(body["data"]["seq"] for body in bodies) == list(range(1, 61))
    assert len({headers["webhook-id"] for headers, _ in receiver.came}) == 60
    assert {body["type"] for body in bodies} == {"message.sent"}
    assert await attempts(store, webhook.id) == [(204, "")]


async def test_an_endpoint_gets_what_it_asked_for(
    store: Store, receiver: Receiver, dispatching: Dispatching
) -> None:
    """Filters choose, and the numbers of each endpoint are its own."""
    await give(store, receiver.url + "/groups", "group.*")
    await give(store, receiver.url + "/sent", "message.sent")
    async with dispatching():
        await note(store, 5, "group.created")
        await note(store, 3, "message.sent")
        await until(lambda: len(receiver.came) >= 8)
    numbers: dict[str, list[int]] = {}
    for _, body in receiver.came:
        said = json.loads(body)
        numbers.setdefault(said["type"], []).append(said["data"]["seq"])
    assert {type_: sorted(found) for type_, found in numbers.items()} == {
        "group.created": [1, 2, 3, 4, 5],
        "message.sent": [1, 2, 3],
    }


async def test_what_is_not_taken_comes_again_with_its_id(
    store: Store, receiver: Receiver, dispatching: Dispatching
) -> None:
    """The first retry is after five seconds, and no sooner; both attempts are listed."""
    webhook = await give(store, receiver.url)

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500 if len(receiver.came) == 1 else 200, text="x" * 9000)

    receiver.answer = answer
    async with dispatching():
        await note(store)
        await until(lambda: receiver.came)
        await until(lambda: attempts(store, webhook.id))
        store.clock.now += 4
        await asyncio.sleep(0.6)  # two looks
        assert len(receiver.came) == 1
        store.clock.now += 2
        await until(lambda: len(receiver.came) == 2)
        await until(lambda: _are(store, webhook.id, [(500, ""), (200, "")]))
    ids = {headers["webhook-id"] for headers, _ in receiver.came}
    assert len(ids) == 1
    async with store.admin() as admin:
        page = await admin.webhooks.events(APP_ID, webhook.id, store.clock.ms, 0)
    assert page.events[0].attempts[0].answer == b"x" * ANSWER_BYTES


async def _are(store: Store, webhook_id: str, expected: list[tuple[int, str]]) -> bool:
    return await attempts(store, webhook_id) == expected


async def test_gone_is_obeyed(store: Store, receiver: Receiver, dispatching: Dispatching) -> None:
    """410: nothing more is sent, whatever happens."""
    webhook = await give(store, receiver.url)

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=410)

    receiver.answer = answer
    logs = HookLogs(store.link, store.keys)
    async with dispatching():
        await note(store)

        async def off() -> bool:
            state = await logs.state(APP_ID, webhook.id)
            return state is not None and state.off == GONE

        await until(off)
        await note(store, 3)
        await asyncio.sleep(0.6)  # two looks
    assert len(receiver.came) == 1


async def test_retry_after_is_obeyed(
    store: Store, receiver: Receiver, dispatching: Dispatching
) -> None:
    """429 with Retry-After: neither this event nor another is sent before that."""
    webhook = await give(store, receiver.url)

    async def answer(_: web.Request) -> web.StreamResponse:
        if len(receiver.came) == 1:
            return web.Response(status=429, headers={"retry-after": "100"})
        return web.Response()

    receiver.answer = answer
    async with dispatching():
        await note(store)
        await until(lambda: attempts(store, webhook.id))
        store.clock.now += 90
        await asyncio.sleep(0.6)  # two looks
        assert len(receiver.came) == 1
        store.clock.now += 30
        await until(lambda: len(receiver.came) == 2)


@pytest.mark.parametrize("kind", ["endless", "huge", "hang in the body"])
async def test_an_answer_without_end_is_an_answer(
    store: Store, receiver: Receiver, dispatching: Dispatching, kind: str
) -> None:
    """G9: the status counts, a KiB is read, and the rest holds up nobody."""
    webhook = await give(store, receiver.url)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        if kind == "huge":
            await response.write(b"y" * 10_000_000)
        while kind == "endless":
            await response.write(b"y" * 10_000)
        if kind == "hang in the body":
            await response.write(b"y")
            await asyncio.sleep(30)
        return response

    receiver.answer = answer
    async with dispatching():
        await note(store)
        await until(lambda: _are(store, webhook.id, [(200, "")]))


async def test_a_redirect_is_not_followed(
    store: Store, receiver: Receiver, dispatching: Dispatching
) -> None:
    """A receiver could lead a gateway to where nobody else may go."""
    webhook = await give(store, receiver.url)

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"location": receiver.url + "/secret"})

    receiver.answer = answer
    async with dispatching():
        await note(store)
        await until(lambda: _are(store, webhook.id, [(307, "")]))
    assert len(receiver.came) == 1


async def test_a_wrong_certificate_gets_nothing(
    store: Store, receiver: Receiver, dispatching: Dispatching
) -> None:
    """The name in the URL must be the certificate's, of a CA that is trusted; nor is what speaks no
    TLS sent anything."""
    # 127.0.0.2 is this machine, too, and not in the certificate.
    other = await give(store, f"https://localhost.localdomain:{receiver.port}/")
    async with receiving(None) as plain, dispatching():
        spoken = await give(store, f"https://localhost:{plain.port}/")
        await note(store)
        await until(lambda: _are(store, spoken.id, [(0, "tls")]))
        await until(lambda: attempts(store, other.id))
        assert (await attempts(store, other.id))[0][0] == 0
        assert plain.came == []
    assert receiver.came == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0x7f000001"])
async def test_this_machine_is_not_sent_to(
    store: Store, receiver: Receiver, dispatching: Dispatching, host: str
) -> None:
    """Where it is not configured, no name and no spelling leads to what only the gateway can
    reach."""
    webhook = await give(store, f"https://{host}:{receiver.port}/")
    async with dispatching(allowed=False):
        await note(store)
        await until(lambda: _are(store, webhook.id, [(0, "forbidden")]))
    assert receiver.came == []


async def test_a_dead_endpoint_slows_no_other(
    store: Store, receiver: Receiver, dispatching: Dispatching
) -> None:
    """G9: one that hangs holds its own connections, and the other gets all of its events."""
    await give(store, receiver.url + "/hangs")
    await give(store, receiver.url + "/works")

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("hangs"):
            await asyncio.sleep(60)
        done.append(request.path)
        return web.Response()

    done: list[str] = []
    receiver.answer = answer
    async with dispatching():
        await note(store, 100)
        await until(lambda: len(done) == 100)


async def test_two_dispatchers_share_and_one_takes_over(
    store: Store, receiver: Receiver, dispatching: Dispatching
) -> None:
    """G10: whoever is there sends, and each event comes with its number, once or with its id."""
    await give(store, receiver.url)
    for _ in range(3):
        async with dispatching(), dispatching():
            await note(store, 20)
            seen = len({headers["webhook-id"] for headers, _ in receiver.came})
            await until(lambda seen=seen: len(receiver.came) > seen)  # type: ignore[misc]
    async with dispatching():
        await until(lambda: len({headers["webhook-id"] for headers, _ in receiver.came}) == 60)
    numbers = {h["webhook-id"]: json.loads(body)["data"]["seq"] for h, body in receiver.came}
    assert sorted(numbers.values()) == list(range(1, 61))
