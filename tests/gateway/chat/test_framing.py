"""What becomes a push as it comes through pub/sub, and what does not. Nothing of Redis."""

from __future__ import annotations

import os
from typing import cast

import pytest
from homeport import codec, frames
from homeport.ids import direct_conversation

from gateway.apps.app import App, create_app
from gateway.chat.framing import Framing
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store import events
from gateway.store.directory import AppDirectory
from gateway.store.lateness import FRESH_MS, Lateness
from gateway.store.stored import StoredMessage

SENT_MS = 1_700_000_000_000
GROUP = "g:" + "ab" * 16


class Known:
    """A directory of one app."""

    def __init__(self) -> None:
        self.app = create_app("a", "sg", "pro", "global", 0)

    def known(self, _: str) -> App:
        """See `AppDirectory`."""
        return self.app


class Setting:
    """What one gateway makes of events at `now_ms`."""

    def __init__(self) -> None:
        self.now_ms = SENT_MS
        self.directory = Known()
        sealer = Sealer(Keyring("sg", {1: 0}, {1: os.urandom(32)}))
        directory = cast("AppDirectory", self.directory)
        lateness = cast("Lateness", self)
        self.framing = Framing(sealer, directory, lateness, lambda: self.now_ms)

    def fresh(self, as_of_ms: float) -> bool:
        """As that of a `Lateness` of a gateway that is not late."""
        return self.now_ms - as_of_ms <= FRESH_MS

    def message(self, conversation: str, to: str) -> frames.Message:
        """A message of ann's, whose record is in `self.record`."""
        message = frames.Message(b"m" * 16, "ann", to, SENT_MS, "text", b"hi")
        self.record = self.framing.records.make(self.directory.app, message, conversation)
        return message

    def pushed(
        self, user: str, peer: str, *, expires_ms: int | None = None, over: bool = False
    ) -> bytes | None:
        """What `user` is sent for number 7 of their inbox, 3 of the conversation with `peer`."""
        record = None if over else self.record
        stored = StoredMessage(3, SENT_MS, 1, 0, 1, expires_ms, record)
        event = events.Stored(7, 3, peer, stored)
        return self.framing.pushed(self.directory.app.id, user, "channel", event)


@pytest.fixture
def setting() -> Setting:
    """One gateway."""
    return Setting()


def test_a_push_says_both_numbers_and_the_time_of_the_message(setting: Setting) -> None:
    """SPEC 7.2: the inbox' number and ms, which a cursor carries, and the conversation's."""
    message = setting.message(direct_conversation("ann", "bob"), "bob")
    for user, peer in (("bob", "ann"), ("ann", "bob")):
        payload = setting.pushed(user, peer)
        assert payload is not None
        assert codec.decode_server(payload) == frames.Push(7, SENT_MS, 3, message)


def test_what_was_said_to_another_is_lost(setting: Setting) -> None:
    """G7: who can write to Redis can't hand ann's and bob's words to carol."""
    setting.message(direct_conversation("ann", "bob"), "bob")
    payload = setting.pushed("carol", "ann")
    assert payload is not None
    assert codec.decode_server(payload) == frames.Lost(7, 7)


@pytest.mark.parametrize(("late_ms", "pushed"), [(FRESH_MS, True), (FRESH_MS + 1, False)])
def test_what_redis_told_late_is_not_pushed_as_it_came(
    setting: Setting, late_ms: int, pushed: bool
) -> None:
    """HP-13.4-1: a push that was held up for long came after its message had been recalled, and
    with the text that was recalled."""
    setting.message(direct_conversation("ann", "bob"), "bob")
    setting.now_ms += late_ms
    assert (setting.pushed("bob", "ann") is not None) is pushed


@pytest.mark.parametrize(("expires_ms", "pushed"), [(SENT_MS + 101, True), (SENT_MS + 100, False)])
def test_what_has_ended_meanwhile_is_not_pushed(
    setting: Setting, expires_ms: int, pushed: bool
) -> None:
    """SPEC 12.2: nothing is pushed in the millisecond in which it ends, or later."""
    setting.message(direct_conversation("ann", "bob"), "bob")
    setting.now_ms += 100
    assert (setting.pushed("bob", "ann", expires_ms=expires_ms) is not None) is pushed


def test_a_repeat_of_what_is_over_is_not_pushed(setting: Setting) -> None:
    """HP-13.4-1: the store tells of a number whose text is gone, to whoever had no reference."""
    setting.message(direct_conversation("ann", "bob"), "bob")
    assert setting.pushed("bob", "ann", over=True) is None


def test_how_late_redis_told_is_measured_for_all(setting: Setting) -> None:
    """What came too late to be pushed counts too, or nobody would see that pub/sub is slow."""
    setting.message(direct_conversation("ann", "bob"), "bob")
    setting.pushed("bob", "ann")
    setting.now_ms += 2000
    setting.pushed("bob", "ann")
    tally = setting.framing.send_to_push
    assert (sum(tally.cells), tally.total_ms) == (2, 2000)


def test_a_message_to_a_group_is_opened_once_for_all_members_here(setting: Setting) -> None:
    """G9: with a thousand members on one gateway, one is deciphered and the others share it."""
    message = setting.message(GROUP, GROUP)
    first = setting.framing.records.open(setting.directory.app, GROUP, setting.record)
    for user in ("bob", "carol"):
        payload = setting.pushed(user, GROUP)
        assert payload is not None
        assert codec.decode_server(payload) == frames.Push(7, SENT_MS, 3, message)
    assert setting.framing.records.open(setting.directory.app, GROUP, setting.record) is first
