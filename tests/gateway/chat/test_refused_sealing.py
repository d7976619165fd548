"""What each request is answered where the keyring breaks while the gateway runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from homeport.frames import Options
from structlog.testing import capture_logs

from gateway.chat.refused import FAULTS, Refused, refusal
from gateway.config import Settings
from tests.gateway.chat.doors import a_door, later
from tests.harness import FakeClock
from tests.inside import Inside


async def told(call: Callable[[], Awaitable[object]]) -> str:
    """ "ok", or the name of the code that a client is told."""
    try:
        await later(call)
    except (Refused, *FAULTS) as error:
        return refusal(error).code.name
    return "ok"


async def test_what_cannot_be_sealed_is_refused_and_logged(
    settings: Settings, clock: FakeClock
) -> None:
    """G7: nothing is stored in the clear instead. The client is told `internal`, whatever it asked,
    the log says why, and reading goes on. A session used to end by such an error."""
    async with a_door(settings, clock, "free") as door:
        alice = await door.user("alice")
        group = await door.chat.groups.create(alice, "c", "t", ["bob"])
        _, seq = await door.say(alice, "bob", "hi")
        chat, sealer = door.chat, Inside(door.running.worker).sealer
        online = Options(online_only=True)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: door.say(alice, "bob", "x"),
            lambda: door.say(alice, f"g:{group}", "y"),
            lambda: door.say(alice, "r:hall", "z"),
            lambda: chat.messages.send(alice, "o", "bob", "text", b"", options=online)[1],
            lambda: chat.signals.signal(alice, "bob", "t", b""),
            lambda: chat.signals.signal(alice, f"g:{group}", "t", b""),
            lambda: chat.signals.signal(alice, "r:hall", "t", b""),
            lambda: chat.groups.create(alice, "d", "t", ["bob"]),
            lambda: chat.groups.rename(alice, group, "n"),
            lambda: chat.groups.add(alice, group, ["eve"]),
            lambda: chat.recalls.edit(alice, "bob", seq, b"new"),
            lambda: chat.recalls.recall(alice, "bob", seq),
        ]
        good, sealer.active = sealer.active, 9  # a version that no key file has
        with capture_logs() as logs:
            answers = [await told(call) for call in calls]
            assert answers == ["internal"] * len(calls)
            assert await told(lambda: chat.receipts.mark(alice, "bob", seq, seq)) == "ok"
            assert await told(lambda: chat.history.page(alice, "bob", 5)) == "ok"
        assert len([line for line in logs if line["event"] == "request_failed"]) >= len(calls)
        sealer.active = good
        assert await told(lambda: door.say(alice, "bob", "x")) == "ok"
