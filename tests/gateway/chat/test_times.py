"""The times of messages."""

from __future__ import annotations

import pytest
from homeport import codes
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat import times
from gateway.chat.refused import Refused
from gateway.chat.times import Times


class Watch:
    """A clock set by hand."""

    ms = 1000

    def __call__(self) -> int:
        return self.ms


def test_a_conversation_gets_each_time_once_and_rising() -> None:
    """HP-14.1-2: within one millisecond too; and another conversation is not pushed ahead by it."""
    given = Times(Watch())
    assert [given.next("app", "d:a:b") for _ in range(3)] == [1000, 1001, 1002]
    assert given.next("app", "d:a:c") == 1000
    assert given.next("other", "d:a:b") == 1000


def test_a_time_is_the_clocks_own_as_soon_as_it_can_be() -> None:
    """HP-14.1-2: what ran ahead does not stay ahead."""
    watch = Watch()
    given = Times(watch)
    assert [given.next("app", "d:a:b") for _ in range(3)] == [1000, 1001, 1002]
    watch.ms = 1002
    assert given.next("app", "d:a:b") == 1003
    watch.ms = 1010
    assert given.next("app", "d:a:b") == 1010


def test_what_is_past_is_forgotten() -> None:
    """Times that can't come again cost no memory."""
    watch = Watch()
    given = Times(watch)
    for number in range(100):
        given.next("app", f"d:a:{number}")
    watch.ms += 1
    given.next("app", "d:a:b")
    assert len(given) == 1


def test_memory_is_bounded_while_the_clock_stands() -> None:
    """However many conversations there are, and also while one of them is ahead."""
    given = Times(Watch())
    for number in range(times.MAX_REMEMBERED + 10):
        given.next("app", str(number))
    assert len(given) <= times.MAX_REMEMBERED


def test_a_burst_runs_ahead_by_a_second_and_then_has_to_wait() -> None:
    """HP-14.1-9: 4,000 sends at once put a recipient's clock 3.6 s ahead, and a faster app without
    end; with the times went retention and what may be recalled."""
    watch = Watch()
    given = Times(watch)
    last = [given.next("app", "d:a:b") for _ in range(times.AHEAD_MS + 1)][-1]
    assert last == watch.ms + times.AHEAD_MS
    for _ in range(3):  # what is refused takes no time either
        with pytest.raises(Refused) as caught:
            given.next("app", "d:a:b")
        assert (caught.value.code, caught.value.retry_after) == (codes.RATE_LIMITED, 1.0)
    assert given.next("app", "d:a:c") == watch.ms
    watch.ms += 1
    assert given.next("app", "d:a:b") == last + 1


def test_one_apps_burst_moves_no_other_app() -> None:
    """HP-14.1-9: when too many conversations were remembered, all were forgotten together, and the
    next message of any app came behind the latest time of all."""
    watch = Watch()
    given = Times(watch)
    for _ in range(500):
        given.next("app", "d:a:b")
    for number in range(times.MAX_REMEMBERED):
        given.next("app", str(number))
    assert given.next("app", "new") == watch.ms + 500
    assert given.next("other", "d:a:b") == watch.ms


def test_a_clock_that_is_set_back_takes_the_times_along() -> None:
    """Else nothing could be sent until it has caught up."""
    watch = Watch()
    watch.ms = 100_000
    given = Times(watch)
    assert given.next("app", "d:a:b") == 100_000
    watch.ms = 50_000
    assert given.next("app", "d:a:b") == 50_000


@given(st.lists(st.tuples(st.integers(-10, 50), st.sampled_from("xyz")), max_size=80))
def test_times_rise_whatever_the_clock_does(steps: list[tuple[int, str]]) -> None:
    """HP-14.1-2: a clock that is set back by less than a second lowers none."""
    watch = Watch()
    given = Times(watch)
    last: dict[str, int] = {}
    for step, conversation in steps:
        watch.ms += step
        time = given.next("app", conversation)
        assert time > last.get(conversation, -1)
        assert time >= watch.ms
        last[conversation] = time
