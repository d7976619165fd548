"""One client, one app, one user: against a scripted server and a real gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from homeport import (
    Client,
    CursorFile,
    CursorFileForeign,
    Disconnected,
    UserChanged,
    frames,
)
from homeport.client.owner import Owner, owner_of
from homeport.frames import Renew

from gateway.apps.app import App, create_app
from gateway.config import Settings
from gateway.security import tokens as minting
from tests.gateway.security.tokening import APP, Packing
from tests.harness import FakeClock, RunningWorker, running_worker
from tests.protocol.client.conftest import Events, Setting, tokens
from tests.protocol.client.server import USER

OTHER_APP = create_app("other", "sg", "pro", "global", 0)


def token(user: str = USER, app: App = OTHER_APP) -> str:
    """A token that the scripted server takes as any other."""
    return minting.mint(app.id, app.certificates[0], "sg", user, 0)


def test_a_token_tells_whom_it_is_for() -> None:
    """SPEC.md section 6.2: `iss` and `sub`. What can't be read is the gateway's to refuse."""
    assert owner_of(token("bob")) == Owner(OTHER_APP.id, "bob")
    for unreadable in ("", "a.b", "a.b.c", "a.bm8.c", "é.é.é", "a.W1tbW10.c", f"a.{'Ww' * 4000}.c"):
        assert owner_of(unreadable) is None
    assert "bob" not in repr(Owner("app", "bob"))


def test_a_token_of_the_form_007_tells_it_too() -> None:
    """SPEC.md section 6.5, HP-8.3-4; one of the app itself is for nobody."""
    assert owner_of(Packing().token()) == Owner(APP.id, "alice")
    assert owner_of(Packing(user=b"", privileges=((2, 60),)).token()) is None
    for unreadable in ("007", "007AAAA", Packing().token()[:-4]):
        assert owner_of(unreadable) is None


@pytest.mark.parametrize(
    "other", [token("bob"), token(app=create_app("b", "sg", "pro", "global", 0))]
)
async def test_another_owner_at_a_reconnect_ends_the_client(setting: Setting, other: str) -> None:
    """HP-8.3-4: somebody else had logged in, and what Alice had written was sent as Bob, whose
    messages Alice's program read. Now nothing is even connected with such a token."""
    async with setting.live(get_token=tokens(token(), other)) as (client, peer):
        sending = asyncio.create_task(client.send("carol", "Alice's words", timeout=None))
        await peer.expect(frames.Send)
        await peer.ws.close(4004)
        with pytest.raises(UserChanged, match="make a client for each"):
            await sending
        with pytest.raises(UserChanged):
            await anext(client.messages())
        while (told := await setting.events.next(Disconnected)).will_reconnect:
            pass
        assert "another" in told.reason
    assert setting.server.peers.empty()


async def test_another_user_of_a_token_that_can_not_be_read(setting: Setting) -> None:
    """HP-8.3-4: then the server's answer counts, and what it pushes behind it is not read."""
    async with setting.live(get_token=tokens("one", "two")) as (client, peer):
        sending = asyncio.create_task(client.send("carol", "Alice's words", timeout=None))
        await peer.expect(frames.Send)
        await peer.ws.close(4004)
        peer = await setting.server.peer()
        await peer.accept(user="bob")
        await peer.push(1)
        with pytest.raises(UserChanged) as caught:
            await sending
        assert caught.value.differs == "user"
        with pytest.raises(UserChanged):
            await anext(client.messages())
        await peer.ws.wait_closed()


async def test_another_user_at_a_renewal_ends_the_client(setting: Setting) -> None:
    """HP-8.3-4: it is not even shown to the server."""
    async with setting.live(get_token=tokens(token(), token("bob"))) as (client, peer):
        await peer.send(frames.Expiring(1234))
        with pytest.raises(UserChanged):
            await anext(client.messages())
        await peer.ws.wait_closed()
    assert setting.server.peers.empty()


async def test_a_renewal_that_the_server_finds_to_be_anothers(setting: Setting) -> None:
    """HP-6.3-4: its word counts too."""
    async with setting.live(get_token=tokens("one", "two")) as (client, peer):
        await peer.send(frames.Expiring(1234))
        renew = await peer.expect(Renew)
        await peer.send(frames.Error(renew.id, 122, "no"))
        with pytest.raises(UserChanged):
            await anext(client.messages())


async def test_a_cursor_file_of_another_owner(setting: Setting, tmp_path: Path) -> None:
    """HP-7.2-8: it is refused before anything is connected, and left as it is."""
    file = CursorFile(tmp_path / "cursor")
    async with setting.live(token=token(), cursor=file):
        pass
    before = file.path.read_bytes()
    for other, differs in ((token("bob"), "user"), (token(app=_app()), "app")):
        with pytest.raises(CursorFileForeign) as caught:
            await setting.client(token=other, cursor=file).__aenter__()
        assert caught.value.differs == differs
    assert setting.server.peers.empty()
    assert file.path.read_bytes() == before
    async with setting.live(token=token(), cursor=file):
        pass


def _app() -> App:
    return create_app("b", "sg", "pro", "global", 0)


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[RunningWorker]:
    """A gateway whose clock the tests move."""
    async with running_worker(settings, clock=FakeClock()) as found:
        yield found


@pytest.mark.parametrize("at", ["renewal", "reconnect"])
async def test_nothing_of_alice_becomes_bobs_at_a_real_gateway(
    running: RunningWorker, at: str
) -> None:
    """HP-8.3-4, G7: Carol gets no message from Bob, and Alice's client reads none of his."""
    events = Events()
    calls = 0

    async def get_token() -> str:
        nonlocal calls
        calls += 1
        return running.token("alice" if calls == 1 else "bob", lifetime_s=20)

    async with Client(running.url, device="d", token=running.token("carol")) as carol:
        client = Client(running.url, device="d", get_token=get_token, on_event=events.put)
        async with client:
            await carol.send("bob", "for Bob only")
            running.pass_time(11 if at == "renewal" else 21)
            with pytest.raises(UserChanged):
                await anext(client.messages())
            with pytest.raises(UserChanged):
                await client.send("carol", "Alice's words")
