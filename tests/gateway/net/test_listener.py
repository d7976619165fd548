"""Listening sockets, and the connections that came through them."""

from __future__ import annotations

import pytest
from homeport import codes, frames

from gateway.address import Address
from gateway.net.origins import Origins
from tests.gateway.net.raw import RawSocket, upgrade
from tests.harness import RunningWorker, until


async def test_after_stop_nobody_new_gets_in_and_those_who_are_stay(
    running: RunningWorker,
) -> None:
    """G10: the first step of a drain."""
    async with running.client("alice") as alice:
        running.inside.listener.stop()
        with pytest.raises(ConnectionRefusedError):
            async with RawSocket.open(running.listening.plain):
                pass
        assert isinstance(await alice.say("alice", "x"), frames.Ok)


async def test_abort_ends_what_is_open(running: RunningWorker) -> None:
    """G10: the last step of a drain, for clients that do not answer."""
    async with RawSocket.open(running.listening.plain) as raw:
        await raw.open_session(running.token("alice"))
        running.inside.listener.abort()
        assert await raw.closed() is None
    await until(lambda: running.inside.open == 0)


async def test_an_address_that_is_taken_is_refused(running: RunningWorker) -> None:
    """The operator's fault, told at the start."""
    listener = running.inside.another_listener(Origins([], allow_missing=True))
    assert running.listening.plain is not None
    with pytest.raises(OSError, match="in use"):
        listener.listen(running.listening.plain, None)


async def test_port_0_takes_a_free_one_on_ipv6_too(running: RunningWorker) -> None:
    """And the address that it became is told."""
    listener = running.inside.another_listener(Origins([], allow_missing=True))
    address = listener.listen(Address("::1", 0), None)
    assert address.host == "::1"
    assert address.port > 0
    listener.stop()


async def test_sessions_are_those_whose_upgrade_is_done(running: RunningWorker) -> None:
    """A connection without an upgrade is open, but no session."""
    listener = running.inside.listener
    async with RawSocket.open(running.listening.plain) as raw:
        await until(lambda: listener.open == 1)
        assert list(listener.sessions()) == []
        raw.writer.write(upgrade())
        await raw.response()
        (session,) = listener.sessions()
        session.close(codes.GOING_AWAY)
        assert await raw.closed() == codes.GOING_AWAY.number
