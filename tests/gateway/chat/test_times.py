"""The times of messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.chat import times
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
    assert len(given._given) == 1


def test_memory_is_bounded_while_the_clock_stands() -> None:
    """A clock that was set back by a day does not fill the memory."""
    given = Times(Watch())
    for number in range(times.MAX_REMEMBERED + 10):
        given.next("app", str(number))
    assert len(given._given) <= times.MAX_REMEMBERED


@given(st.lists(st.tuples(st.integers(-50, 50), st.sampled_from("xyz")), max_size=80))
def test_times_rise_whatever_the_clock_does(steps: list[tuple[int, str]]) -> None:
    """HP-14.1-2: a clock that is set back lowers none."""
    watch = Watch()
    given = Times(watch)
    last: dict[str, int] = {}
    for step, conversation in steps:
        watch.ms += step
        time = given.next("app", conversation)
        assert time > last.get(conversation, -1)
        assert time >= watch.ms
        last[conversation] = time
