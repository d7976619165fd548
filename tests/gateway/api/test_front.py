"""What every request passes, and what every answer carries."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.api import front, server
from gateway.api.front import MAX_BYTES
from gateway.dev.embedded import EmbeddedValkey
from tests.gateway.api.calling import Calling, calling, code_of
from tests.harness import make_settings, until

READ = "/v1/conversations/d:alice:bob/messages"
SEND = "/v1/messages"


async def test_every_answer_says_where_it_is_from_and_is_kept_nowhere(api: Calling) -> None:
    """Good or bad: the region, an id of the request, and headers that keep browsers away."""
    for answer in (await api.ask("GET", READ), await api.ask("GET", "/v1/nothing")):
        assert answer.headers["homeport-region"] == "sg"
        assert len(answer.headers["homeport-request-id"]) == 32
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


async def test_what_is_left_of_the_limits_is_told(api: Calling) -> None:
    """The prices of SPEC.md section 17.1, in the user's bucket and the app's."""
    sent = await api.send()
    assert sent.headers["ratelimit-policy"] == '"user";q=10000;w=10, "app";q=100000;w=5'
    assert sent.headers["ratelimit"].startswith('"user";r=9999;t=1, "app";r=')
    await api.ask("GET", READ, params={"limit": 80})
    left = (await api.ask("GET", READ, params={"limit": 1})).headers["ratelimit"]
    assert left == '"app";r=99987;t=1'


async def test_a_flood_is_told_when_to_come_again(api: Calling) -> None:
    """429, and not the message's loss: the same send is taken later."""
    inside = api.running.inside
    async with inside.principals.user(api.app.id, "alice") as alice:
        alice.allowance.pay(api.app.tier, 10_000)
        refused = await api.send()
    assert code_of(refused, 429) == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["limit"] == "user"


async def test_head_and_options_answer_as_http_wants_it(api: Calling) -> None:
    """RFC 9110: HEAD says what GET would, without the body; OPTIONS and 405 say what can be."""
    get, head = await api.ask("GET", READ), await api.ask("HEAD", READ)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    options = await api.ask("OPTIONS", READ)
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    wrong = await api.ask("PUT", READ, json={})
    assert code_of(wrong, 405) == "method_not_allowed"
    assert wrong.headers["allow"] == "GET, HEAD, OPTIONS"
    assert code_of(await api.ask("GET", "/v1/nothing"), 404) == "not_found"


async def test_a_trace_goes_on(api: Calling) -> None:
    """W3C Trace Context: the trace's id stays, and what is no traceparent is passed over."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = await api.ask("GET", READ, headers=headers)
    assert answer.headers["traceresponse"].split("-")[1] == trace
    for bad in ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", "x", f"00-{trace}-{'0' * 16}-01"):
        answer = await api.ask("GET", READ, headers={"traceparent": bad})
        assert "traceresponse" not in answer.headers


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed"),
        (b"\xff", "application/json", 400, "malformed"),
        (b"[" * 50_000, "application/json", 400, "malformed"),
        (b"[]", "application/json", 422, "invalid_field"),
        (b"null", "application/json", 422, "invalid_field"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}", "", 415, "unsupported_media_type"),
        (b" " * (MAX_BYTES + 1), "application/json", 413, "request_too_large"),
        (b'{"text": "\\ud800"}', "application/json", 400, "malformed"),
    ],
    ids=["cut", "bytes", "deep", "list", "null", "form", "untyped", "large", "surrogate"],
)
async def test_a_body_that_is_none(
    api: Calling, content: bytes, kind: str, status: int, code: str
) -> None:
    """Whatever comes, the answer is a problem, and no fault of the server's."""
    headers = {"content-type": kind} if kind else {}
    answer = await api.ask("POST", SEND, content=content, headers=headers)
    assert code_of(answer, status) == code


async def raw(api: Calling, data: bytes, *, close: bool = False) -> bytes:
    """What the server answers to these bytes, until it closes."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    if close:
        writer.write_eof()
    async with asyncio.timeout(10):
        found = await reader.read()
    writer.close()
    return found


def head_of(api: Calling, *more: str) -> str:
    """The head of a send."""
    lines = [f"POST {SEND} HTTP/1.1", "host: x", f"authorization: Bearer {api.key}"]
    return "\r\n".join([*lines, "content-type: application/json", *more, "", ""])


async def test_a_body_that_does_not_come_is_not_waited_for(
    api: Calling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends a byte a minute holds a connection for seconds, not for ever."""
    monkeypatch.setattr(front, "BODY_S", 0.05)
    answer = await raw(api, head_of(api, "content-length: 100").encode() + b"{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "request_timeout"


async def test_a_head_that_does_not_end_is_not_waited_for(
    api: Calling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in time nor in bytes; and whoever says nothing at all is not kept either."""
    monkeypatch.setattr(server, "HEAD_S", 0.05)
    assert await raw(api, b"GET / HTTP/1.1\r\nx: y\r\n") == b""
    assert await raw(api, b"") == b""
    monkeypatch.setattr(server, "HEAD_S", 60)
    endless = b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000
    with contextlib.suppress(ConnectionError):  # it may be said so
        assert await raw(api, endless) == b""


async def test_a_body_without_an_end_is_cut_off(api: Calling) -> None:
    """A chunked body says no length, and is counted as it comes."""
    chunk = b"%x\r\n%b\r\n" % (65536, b" " * 65536)
    many = head_of(api, "transfer-encoding: chunked").encode() + chunk * 17
    assert (await raw(api, many)).startswith(b"HTTP/1.1 413 ")


async def test_nobody_makes_the_server_read_without_a_key(api: Calling) -> None:
    """The refusal comes before the body does."""
    head = head_of(api, "content-length: 100000", "connection: close").replace(api.key, "x")
    assert (await raw(api, head.encode())).startswith(b"HTTP/1.1 401 ")


async def test_while_redis_is_away_it_is_said_and_nothing_is_half_done(tmp_path: Path) -> None:
    """503 with Retry-After, for every route; and once it is back, the same send is done once."""
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        settings = make_settings(valkey.url, tmp_path)
        async with calling(settings) as api:
            assert (await api.send(client_id="before")).status_code == 201
            valkey.stop()
            asked: list[tuple[str, str, Any]] = [
                ("POST", SEND, {"from": "a", "to": "b", "client_id": "1", "text": "x"}),
                ("GET", READ, None),
                ("DELETE", f"{READ}/1", None),
                ("PATCH", f"{READ}/1", {"text": "y"}),
            ]
            for method, path, body in asked:
                answer = await api.ask(method, path, json=body)
                assert code_of(answer, 503) == "unavailable"
                assert int(answer.headers["retry-after"]) >= 1
            valkey.start()

            async def is_back() -> bool:
                return (await api.send(client_id="after")).status_code in (200, 201)

            await until(is_back)
            ids = [each["seq"] for each in (await api.ask("GET", READ)).json()["items"]]
            assert ids == [2, 1]
