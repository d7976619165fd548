"""The hub: who is told what. Published by the test, and no store."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from gateway.apps.app import App
from gateway.hub.fanout import Bundle
from gateway.hub.hub import HEAL_SLICE, Hub
from gateway.redis.link import Link
from gateway.redis.subscriber import Subscriber
from gateway.security.sealing import UnknownKeyVersion
from gateway.store import events
from gateway.store.conversations import ConversationStore
from gateway.store.inbox import InboxStore
from gateway.store.keys import Keys
from gateway.tasks import Tasks
from tests.gateway.hub.ears import Ears
from tests.harness import until

APP, OTHER = "02" + "a" * 30, "02" + "b" * 30


class Listening:
    """A session that writes down what it is told."""

    def __init__(self, user: str, app_id: str = APP) -> None:
        self.user = user
        self.app_id = app_id
        self.told: list[Any] = []
        self.leaves: Hub | None = None
        self.id = "0" * 16

    def blocked_by(self, user: str) -> bool:
        """Nobody does."""
        return False

    def on_stored(self, number: int, ms: int, push: bytes | None) -> None:
        """See `HubSession`."""
        self.told.append((number, ms, push))

    def on_room(self, payload: bytes | Bundle, priority: int) -> bool:
        """See `HubSession`; rooms have tests of their own."""
        self.told.append((payload, priority))
        return True

    def on_relayed(self, payload: bytes) -> None:
        """See `HubSession`."""
        self.told.append(payload)

    def on_unreadable(self) -> None:
        """See `HubSession`."""
        self.told.append("unreadable")

    def on_app_changed(self, app: App) -> None:
        """See `HubSession`."""
        self.told.append(app)

    def on_event(self, event: events.Event) -> None:
        """See `HubSession`. An event may end the session."""
        self.told.append(event)
        if self.leaves is not None:
            self.leaves.leave(self)

    def fault(self) -> None:
        """See `HubSession`."""
        self.told.append("fault")

    def doubt(self) -> None:
        """See `HubSession`."""
        self.told.append("doubt")

    def check(self) -> None:
        """See `HubSession`."""
        self.told.append("check")

    def on_app_deleted(self) -> None:
        """See `HubSession`. As a real one does, it leaves."""
        self.told.append("deleted")
        if self.leaves is not None:
            self.leaves.leave(self)


class Made:
    """Makes payloads and counts them."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None
        self.nothing = False

    def __call__(
        self, app_id: str, user: str, channel: str, event: events.Stored | events.Relayed
    ) -> bytes | None:
        self.count += 1
        if self.error is not None:
            raise self.error
        record = event.message.record if isinstance(event, events.Stored) else event.record
        assert record is not None
        return None if self.nothing else f"{app_id}:{user}:".encode() + record


@pytest.fixture
def ears() -> Ears:
    """The subscriber."""
    return Ears()


@pytest.fixture
def made() -> Made:
    """The payloads that were made."""
    return Made()


@pytest.fixture
def hub(ears: Ears, made: Made) -> Hub:
    """A hub between the two."""
    inboxes = InboxStore(cast("Link", None), Keys("sg"), cast("ConversationStore", None))
    return Hub(cast("Subscriber", ears), inboxes, made, Tasks())


def channel(user: str, app_id: str = APP) -> str:
    """The channel of a user."""
    return Keys("sg").user(app_id, user).channel


def stored(number: int) -> bytes:
    """What the store publishes for a message of ann's, which was stored at `number` * 10."""
    place = b"\x01" + number.to_bytes(8, "big") + (1).to_bytes(4, "big") + b"\x03ann"
    return place + b"\x00\x01" + (number * 10).to_bytes(6, "big") + b"\x00\x00\x00\x01annsrecord"


async def test_a_relayed_frame_reaches_every_session_that_is_here(
    hub: Hub, ears: Ears, made: Made
) -> None:
    """G9: it is made once, and given to each; it has no number."""
    here = [Listening("alice"), Listening("alice")]
    for session in here:
        hub.join(session)
    ears.publish(channel("alice"), events.relayed(b"typing"))
    assert [session.told for session in here] == [[f"{APP}:alice:typing".encode()]] * 2
    assert here[0].told[0] is here[1].told[0]
    assert made.count == 1


async def test_a_channel_is_heard_while_someone_listens(hub: Hub, ears: Ears) -> None:
    """One subscription a user, from the first session to the last."""
    one, two = Listening("alice"), Listening("alice")
    await hub.join(one)
    await hub.join(two)
    hub.leave(one)
    hub.leave(one)
    assert ("-", channel("alice")) not in ears.asked
    hub.leave(two)
    assert ears.asked[-1] == ("-", channel("alice"))
    assert list(hub.sessions()) == []
    assert (one.told, two.told) == ([], [])


async def test_one_payload_is_made_for_all_devices_of_a_user(
    hub: Hub, ears: Ears, made: Made
) -> None:
    """G3: the same one for each, so that it is framed once; and nothing for anyone else."""
    devices = [Listening("alice") for _ in range(3)]
    others = [Listening("bob"), Listening("alice", OTHER)]
    for session in (*devices, *others):
        await hub.join(session)
    ears.publish(channel("alice"), stored(7))
    push = f"{APP}:alice:record".encode()
    assert [session.told for session in devices] == [[(7, 70, push)]] * 3
    assert len({id(session.told[0][2]) for session in devices}) == 1
    assert [session.told for session in others] == [[], []]
    assert made.count == 1


async def test_of_what_can_not_be_pushed_as_it_came_each_hears_the_number(
    hub: Hub, ears: Ears, made: Made
) -> None:
    """G1: a push that came late is read from the store, so each session has to know that there is
    something to read. Of a frame that is stored nowhere there is nothing to say."""
    devices = [Listening("alice") for _ in range(2)]
    for session in devices:
        await hub.join(session)
    made.nothing = True
    ears.publish(channel("alice"), stored(7))
    ears.publish(channel("alice"), events.relayed(b"typing"))
    assert [session.told for session in devices] == [[(7, 70, None)]] * 2


async def test_an_event_reaches_all_even_if_it_ends_some(hub: Hub, ears: Ears) -> None:
    """HP-5.5-4 and HP-6.4-2: a session that leaves while it is told hides none behind it."""
    devices = [Listening("alice") for _ in range(3)]
    for session in devices:
        await hub.join(session)
        session.leaves = hub
    ears.publish(channel("alice"), events.kicked(""))
    assert [session.told for session in devices] == [[events.Kicked("")]] * 3
    assert list(hub.sessions()) == []


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (events.revoked(5), events.Revoked(5)),
        (events.kicked("d1"), events.Kicked("d1")),
        (b"\x04" + b"s" * 16 + b"d1", events.Attached("s" * 16, "d1")),
    ],
)
async def test_events_are_handed_on(
    hub: Hub, ears: Ears, payload: bytes, event: events.Event
) -> None:
    """HP-5.1-10, HP-5.5-4 and HP-6.4-2."""
    session = Listening("alice")
    await hub.join(session)
    ears.publish(channel("alice"), payload)
    assert session.told == [event]


@pytest.mark.parametrize("payload", [b"", b"\x63", b"\x63 of a newer gateway"])
async def test_what_a_newer_gateway_says_is_passed_over(
    hub: Hub, ears: Ears, payload: bytes
) -> None:
    """G10: two versions may run side by side during an upgrade."""
    session = Listening("alice")
    await hub.join(session)
    ears.publish(channel("alice"), payload)
    assert session.told == []


async def test_a_message_without_its_key_is_said_to_each(hub: Hub, ears: Ears, made: Made) -> None:
    """G1: it is in the inbox, for a gateway that can read it."""
    sessions = [Listening("alice"), Listening("alice")]
    for session in sessions:
        await hub.join(session)
    made.error = UnknownKeyVersion(2)
    ears.publish(channel("alice"), stored(1))
    assert [session.told for session in sessions] == [["unreadable"], ["unreadable"]]


async def test_after_a_gap_all_doubt_at_once_and_all_are_checked(hub: Hub) -> None:
    """G3 and G10: nobody hears anything between; others get the loop in between the checks."""
    sessions = [Listening(f"u{n}") for n in range(HEAL_SLICE * 2 + 5)]
    for session in sessions:
        await hub.join(session)
    hub.heal()
    assert all(session.told == ["doubt"] for session in sessions)
    turns = 0
    while not all(session.told == ["doubt", "check"] for session in sessions):
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 3


async def test_a_second_gap_starts_over(hub: Hub) -> None:
    """G10: whoever came meanwhile is checked too."""
    first, second = Listening("alice"), Listening("bob")
    await hub.join(first)
    hub.heal()
    await hub.join(second)
    hub.heal()
    await until(lambda: "check" in first.told and "check" in second.told)
    assert second.told == ["doubt", "check"]


async def test_a_deleted_app_ends_its_own_sessions(hub: Hub) -> None:
    """HP-5.5-5: and no other app's, while sessions leave as they are told."""
    gone, others = [Listening("alice"), Listening("bob")], [Listening("alice", OTHER)]
    for session in (*gone, *others):
        await hub.join(session)
        session.leaves = hub
    hub.app_deleted(APP)
    assert [session.told for session in gone] == [["deleted"]] * 2
    assert list(hub.sessions()) == others


class Failing(Listening):
    """A session that fails at whatever `at` names."""

    def __init__(self, user: str, at: str) -> None:
        super().__init__(user)

        def broken(*_: Any) -> None:
            raise ZeroDivisionError

        setattr(self, at, broken)


@pytest.mark.parametrize(
    ("at", "payload"),
    [
        ("on_stored", stored(7)),
        ("on_relayed", events.relayed(b"typing")),
        ("on_event", events.revoked(5)),
    ],
)
async def test_a_session_that_fails_takes_nothing_from_the_others(
    hub: Hub, ears: Ears, at: str, payload: bytes
) -> None:
    """G1, G9: one device's session raised, and the user's other devices never got the message. The
    subscriber is told only then, and has the channel looked after."""
    first, failing, last = Listening("alice"), Failing("alice", at), Listening("alice")
    for session in (first, failing, last):
        await hub.join(session)
    with pytest.raises(ExceptionGroup) as raised:
        ears.publish(channel("alice"), payload)
    assert [type(each) for each in raised.value.exceptions] == [ZeroDivisionError]
    assert len(first.told) == len(last.told) == 1


async def test_all_are_told_of_a_message_without_its_key_even_if_one_fails(
    hub: Hub, ears: Ears, made: Made
) -> None:
    """G1: it is in the inbox, for a gateway that can read it."""
    failing, last = Failing("alice", "on_unreadable"), Listening("alice")
    for session in (failing, last):
        await hub.join(session)
    made.error = UnknownKeyVersion(2)
    with pytest.raises(ExceptionGroup):
        ears.publish(channel("alice"), stored(1))
    assert last.told == ["unreadable"]


@pytest.mark.parametrize("at", ["doubt", "check"])
async def test_a_session_that_can_not_be_healed_ends_and_the_others_are(hub: Hub, at: str) -> None:
    """G3, G10: the sessions behind it were never checked, and showed their clients nothing more."""
    first, failing, last = Listening("alice"), Failing("alice", at), Listening("bob")
    for session in (first, failing, last):
        await hub.join(session)
    with capture_logs() as logs:
        hub.heal()
        await until(lambda: "check" in last.told)
    assert first.told == last.told == ["doubt", "check"]
    assert "fault" in failing.told
    assert [log["event"] for log in logs] == ["session_failed"]


async def test_an_app_is_gone_for_all_even_if_one_session_fails(hub: Hub) -> None:
    """HP-5.5-5: those behind it stayed."""
    failing, last = Failing("alice", "on_app_deleted"), Listening("bob")
    for session in (failing, last):
        await hub.join(session)
    with capture_logs() as logs:
        hub.app_deleted(APP)
    assert (failing.told, last.told) == (["fault"], ["deleted"])
    assert [log["event"] for log in logs] == ["session_failed"]
