"""A running API, as tests call it: over HTTP, with a key."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.apps.api_keys import SCOPES, new_key
from gateway.apps.app import App
from gateway.config import Settings
from gateway.runtime.api import WithApi
from gateway.runtime.core import Core
from tests.harness import FakeClock, RunningWorker, running_worker


@dataclass
class Calling:
    """The API of a gateway in this process, and a client that shows a key for everything."""

    running: RunningWorker
    url: str
    key: str
    http: httpx.AsyncClient

    @property
    def app(self) -> App:
        """The app that the key is of, as it was at the start."""
        return self.running.app

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request."""
        return await self.http.request(method, path, **options)

    async def send(self, **fields: Any) -> httpx.Response:
        """A message of alice's to bob, unless `fields` say otherwise; None leaves one out."""
        body = {"from": "alice", "to": "bob", "client_id": "1", "text": "hi", **fields}
        body = {name: value for name, value in body.items() if value is not None}
        return await self.ask("POST", "/v1/messages", json=body)

    async def new_key(self, scopes: Iterable[str] = SCOPES, app: App | None = None) -> str:
        """One more key, of the app or of another."""
        of = app or self.app
        text, key = new_key(of.region, of.id, "test", scopes, 0)
        async with core_of(self.running).admin() as admin:
            await admin.apps.add_api_key(of.id, key, 0)
        return text


def core_of(running: RunningWorker) -> Core:
    """The region of a gateway, for what its operator does."""
    return Core.at(running.redis_url, running.keyring)


@contextlib.asynccontextmanager
async def calling(
    settings: Settings, clock: FakeClock | None = None, **options: Any
) -> AsyncIterator[Calling]:
    """Run a gateway with its API."""
    asked = settings.model_copy(update={"api_listen": "127.0.0.1:0"})
    async with running_worker(asked, clock=clock, kind=WithApi, **options) as running:
        url = f"http://{running.listening.all_api[0]}"
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as http:
            made = Calling(running, url, "", http)
            made.key = await made.new_key()
            http.headers["authorization"] = f"Bearer {made.key}"
            yield made


def code_of(answer: httpx.Response, status: int) -> str:
    """The code of a problem, which must be one that is well made."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"] == f"/v1/problems/{problem['code']}"
    assert problem["request_id"] == answer.headers["homeport-request-id"]
    return str(problem["code"])
