"""The opening handshake without a socket. What a client sees of it is in test_websocket."""

from __future__ import annotations

from pathlib import Path

import pytest
from homeport.limits import PATH, SUBPROTOCOL
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from gateway.net.admission import Admission, Visit
from gateway.net.origins import Origins
from gateway.net.upgrade import Accepted, Upgrades
from gateway.session.counts import BAD_UPGRADE, LATE_UPGRADE, Counts
from tests.harness import make_settings


class Door:
    """The upgrades of a listener, and a connection that has come to it."""

    def __init__(self, folder: Path) -> None:
        self.counts = Counts()
        self.upgrades = Upgrades(Origins([], allow_missing=True), self.counts)
        settings = make_settings("redis://127.0.0.1", folder)
        self.visit = Visit(Admission(settings, lambda: 0.0), 0.0, proxy=False)

    def answer(
        self, path: str = PATH, protocol: str = SUBPROTOCOL, *authorization: str
    ) -> tuple[Accepted | None, int]:
        """What becomes of a request, and the status of its answer."""
        uri = parse_uri("ws://localhost" + path)
        request: Request = ClientProtocol(uri).connect()
        headers = Headers(request.headers)
        headers["Sec-WebSocket-Protocol"] = protocol
        for value in authorization:
            headers["Authorization"] = value
        peer: ServerProtocol = self.upgrades.peer()
        accepted = self.upgrades.answer(peer, Request(path, headers), self.visit)
        status = b"".join(peer.data_to_send()).split(b" ", 2)[1]
        return accepted, int(status)


@pytest.mark.parametrize(
    ("authorization", "bearer"),
    [
        ((), None),
        (("Bearer  abc ",), "abc"),
        (("bearer abc",), "abc"),
        (("Basic abc",), None),
    ],
)
def test_the_bearer_is_the_token_of_the_header(
    tmp_path: Path, authorization: tuple[str, ...], bearer: str | None
) -> None:
    """HP-2.1-5: another scheme is no token, and no reason to decline."""
    door = Door(tmp_path)
    assert door.answer(PATH, SUBPROTOCOL, *authorization) == (Accepted(bearer), 101)
    assert door.counts.refused[BAD_UPGRADE] == 0


@pytest.mark.parametrize(
    ("path", "protocol", "authorization", "status"),
    [
        ("/v2", SUBPROTOCOL, (), 404),
        (PATH + "?token=secret", SUBPROTOCOL, (), 400),
        (PATH, SUBPROTOCOL, ("Bearer a", "Bearer b"), 400),
        (PATH, "another", (), 400),
    ],
)
def test_what_is_declined_is_counted(
    tmp_path: Path, path: str, protocol: str, authorization: tuple[str, ...], status: int
) -> None:
    """An operator sees in the metrics how many handshakes fail, whoever declines them."""
    door = Door(tmp_path)
    assert door.answer(path, protocol, *authorization) == (None, status)
    assert door.counts.refused[BAD_UPGRADE] == 1


def test_handshakes_that_do_not_end_are_counted_apart(tmp_path: Path) -> None:
    """Too much is a bad handshake in the metrics, too late is one of its own."""
    door = Door(tmp_path)
    door.upgrades.too_large()
    door.upgrades.too_late()
    assert (door.counts.refused[BAD_UPGRADE], door.counts.refused[LATE_UPGRADE]) == (1, 1)
