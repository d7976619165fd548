"""The table of pending sends, without a loop."""

from __future__ import annotations

from math import inf

import pytest
from homeport import codes
from homeport.client import sends as module
from homeport.client.backoff import Backoff
from homeport.client.errors import RateLimited, TooLarge, Unavailable
from homeport.client.sends import PendingSend, PendingSends
from homeport.codec import decode_client
from homeport.frames import Error, Send

UNAVAILABLE = codes.UNAVAILABLE.number


def table() -> PendingSends:
    """An empty table; the dedupe window is 100 s, so a send is repeated for 90 s."""
    sends = PendingSends(Backoff(random=lambda: 0.5))
    sends.dedupe_s = 100.0
    return sends


HELLO = ("c1", "bob", "text", b"hello")
"""The fields of a send behind its request id."""


def add(sends: PendingSends, now: float = 0.0, timeout: float | None = None) -> PendingSend:
    """A send that was written at once."""
    send = sends.add(Send, HELLO, f"client-{len(sends)}", now, timeout)
    send.written(now)
    return send


def test_a_new_send_is_due_at_once() -> None:
    """The frame holds what was given, and a request id of its own."""
    sends = table()
    send = sends.add(Send, HELLO, "c1", 5.0, 30.0)
    assert decode_client(send.frame) == Send(1, "c1", "bob", "text", b"hello")
    assert sends.due(5.0) == [send]
    assert sends.wake_at(connected=True) == 5.0
    assert sends.wake_at(connected=False) == 35.0
    send.written(5.0)
    assert sends.due(100.0) == []
    assert sends.next_id() == 2


def test_unanswered_sends_are_written_again_in_order() -> None:
    """G2, HP-3.3-2, HP-8.3-3: the same bytes, so the same client message id."""
    sends = table()
    first, second = add(sends), add(sends)
    before = [first.frame, second.frame]
    sends.disconnected(10.0)
    assert [send.frame for send in sends.due(10.0)] == before


def test_a_send_is_not_repeated_after_the_dedupe_window() -> None:
    """G2: then a repetition could become a second message; its sender is told instead."""
    sends = table()
    early, late = add(sends, 0.0), add(sends, 1.0)
    sends.disconnected(50.0)
    assert sends.overdue(89.9) == []
    assert sends.overdue(90.0) == [early]
    sends.discard(early.id)
    assert sends.due(90.0) == [late]


def test_the_window_counts_from_the_first_write() -> None:
    """G2: each repetition would otherwise prolong it."""
    sends = table()
    send = add(sends, 0.0)
    for now in (30.0, 60.0):
        sends.disconnected(now)
        send.written(now)
    sends.disconnected(89.0)
    assert sends.overdue(91.0) == [send]


def test_a_send_never_written_does_not_age() -> None:
    """While nothing was written, nothing can have been accepted."""
    sends = table()
    send = sends.add(Send, HELLO, "c1", 0.0, None)
    assert sends.overdue(10_000.0) == []
    assert sends.due(10_000.0) == [send]
    assert sends.wake_at(connected=False) == inf


def test_waiting_for_an_answer_is_bounded_by_the_timeout_only() -> None:
    """The window is about repeating; an answer may come later than that."""
    sends = table()
    send = add(sends, 0.0, timeout=200.0)
    assert sends.overdue(199.0) == []
    assert sends.overdue(200.0) == [send]


def test_unavailable_is_repeated_after_its_time() -> None:
    """HP-8.1-2, HP-8.1-3: `retry_after` and jitter, also when a reconnect comes in between."""
    sends = table()
    send = add(sends)
    assert sends.refused(Error(send.id, UNAVAILABLE, "away", 3.0), 10.0) is None
    assert sends.due(13.1) == []
    sends.disconnected(13.1)
    assert sends.due(13.1) == []
    assert sends.due(13.2) == [send]
    assert sends.wake_at(connected=True) == 13.2
    assert isinstance(send.refusal, Unavailable)
    send.written(13.2)
    sends.refused(Error(send.id, UNAVAILABLE, "away", None), 20.0)
    assert send.write_at == 20.4


def test_a_retry_that_would_be_too_late_is_not_waited_for() -> None:
    """G2: the server asks for a time beyond the dedupe window."""
    sends = table()
    send = add(sends)
    sends.refused(Error(send.id, UNAVAILABLE, "away", 90.0), 1.0)
    assert sends.overdue(1.0) == [send]


@pytest.mark.parametrize(
    ("code", "retry_after", "repeated"),
    [
        (codes.UNKNOWN_RECIPIENT.number, None, False),
        (codes.BODY_TOO_LARGE.number, 1.0, False),
        (codes.INTERNAL.number, None, True),
        (9999, None, False),
        (9999, 1.0, True),
    ],
)
def test_which_errors_are_repeated(code: int, retry_after: float | None, repeated: bool) -> None:
    """HP-8.1-1: "never" is never repeated; an unknown code only with `retry_after`."""
    sends = table()
    send = add(sends)
    refusal = sends.refused(Error(send.id, code, "no", retry_after, {"limit": "5"}), 1.0)
    assert (refusal is None) == repeated
    if refusal is not None:
        assert (refusal.code, refusal.text, refusal.details) == (code, "no", {"limit": "5"})
        assert refusal.retry_after == retry_after


def test_what_a_rate_limit_refused_every_time_was_not_done() -> None:
    """HP-17.1-1: then nothing was stored. Anything else that happened to it leaves a doubt."""
    limited = codes.RATE_LIMITED.number
    sends = table()
    send = add(sends)
    assert send.undone() is None  # an answer may still come
    for _ in range(2):
        sends.refused(Error(send.id, limited, "slow", 1.0), 1.0)
        assert isinstance(send.undone(), RateLimited)
        sends.disconnected(1.5)  # it is not on its way
        assert isinstance(send.undone(), RateLimited)
        send.written(2.0)
        assert send.undone() is None
    sends.disconnected(3.0)
    sends.refused(Error(send.id, limited, "slow", 1.0), 4.0)
    assert send.undone() is None  # the copy whose answer was lost
    other = add(sends)
    for code in (UNAVAILABLE, limited):
        sends.refused(Error(other.id, code, "no", 1.0), 5.0)
    assert other.undone() is None  # the store may have been away just for its answer


def test_a_frame_that_would_end_the_connection_is_not_made() -> None:
    """HP-2.3-3: the server closes with 1009 over 72 KiB, so that is refused here."""
    sends = table()
    with pytest.raises(TooLarge):
        sends.add(Send, ("c1", "bob", "binary", bytes(72 * 1024)), "c1", 0.0, None)
    assert len(sends) == 0


def test_request_ids_wrap_around_those_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are 1 to 2^32 - 1, and none is used twice at once."""
    assert module.LAST_ID == 2**32 - 1
    monkeypatch.setattr(module, "LAST_ID", 4)
    sends = table()
    assert add(sends).id == 1
    assert [sends.next_id() for _ in range(5)] == [2, 3, 4, 2, 3]
