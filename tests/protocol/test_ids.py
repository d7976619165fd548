"""Identifiers: forms, message ids, conversations."""

from __future__ import annotations

import hashlib
import string

import pytest
from homeport import ids
from hypothesis import given
from hypothesis import strategies as st

ALLOWED = string.ascii_letters + string.digits + "._@+-"
APP = "03" + "ab" * 15
users = st.text(alphabet=ALLOWED, min_size=1, max_size=64)


@given(users)
def test_every_text_of_the_form_is_a_user_id_and_a_device_id(value: str) -> None:
    """HP-3.1-1: 1 to 64 of the allowed characters."""
    assert ids.is_user_id(value)
    assert ids.is_device_id(value)


@given(st.text(max_size=70))
def test_a_user_id_is_nothing_else(value: str) -> None:
    """HP-3.1-1: checked against the rule written out a second time."""
    expected = 1 <= len(value) <= 64 and all(character in ALLOWED for character in value)
    assert ids.is_user_id(value) is expected


@pytest.mark.parametrize(
    "value", ["", "a" * 65, "a\n", "\na", "a b", "a:b", "a\0", "a/b", "\uff11", "\u00e9", "a\u0301"]
)
def test_near_misses_are_not_user_ids(value: str) -> None:
    """HP-3.1-1: a trailing newline and a full-width digit are the usual holes of such a check."""
    assert not ids.is_user_id(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0" * 32, True),
        (APP, True),
        (APP.upper(), False),
        (APP[:-1], False),
        (APP + "0", False),
        (APP + "\n", False),
        ("\uff10" * 32, False),
        ("g" * 32, False),
    ],
)
def test_app_ids(value: str, expected: bool) -> None:
    """HP-3.2-1: 32 lower-case hexadecimal digits."""
    assert ids.is_app_id(value) is expected


def test_a_message_id_is_sha_256_of_the_three_parts() -> None:
    """HP-3.4-1: the digest as a client in another language would make it."""
    expected = hashlib.sha256(APP.encode() + b"\0" + b"alice" + b"\0" + "é1".encode()).digest()
    assert ids.message_id(APP, "alice", "é1") == expected[:16]


def test_a_message_id_does_not_change_between_releases() -> None:
    """HP-3.4-1: replicas of two releases must agree on a retry; the digest is pinned."""
    digest = ids.message_id("03" + "0" * 30, "alice", "c1").hex()
    assert digest == "119e21d89f4c086b4e479afe73273d9c"


one_message = st.tuples(st.just(APP) | st.just("01" + "0" * 30), users, st.text(min_size=1))


@given(one_message, one_message)
def test_two_messages_share_an_id_only_when_they_are_one(
    a: tuple[str, str, str], b: tuple[str, str, str]
) -> None:
    """HP-3.4-1: the zero bytes keep the parts apart, whatever a client id contains."""
    assert (ids.message_id(*a) == ids.message_id(*b)) is (a == b)


def test_a_shifted_boundary_is_another_message() -> None:
    """HP-3.4-1: without a separator these two would be the same text."""
    assert ids.message_id(APP, "ab", "c") != ids.message_id(APP, "a", "bc")
    assert ids.message_id(APP, "a", "b\0c") != ids.message_id(APP, "b", "a\0c")


def test_new_client_ids_fit_and_differ() -> None:
    """HP-3.3-1, HP-3.3-3: within 64 characters, and never the same one twice."""
    made = [ids.new_client_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(len(value) == 32 and set(value) <= set("0123456789abcdef") for value in made)


@given(users, users)
def test_a_conversation_has_one_name_from_both_ends(a: str, b: str) -> None:
    """Both users' gateways must come to the same conversation, and to no one else's."""
    lower, higher = sorted([a, b])
    assert ids.direct_conversation(a, b) == f"d:{lower}:{higher}"
    assert ids.direct_conversation(b, a) == f"d:{lower}:{higher}"


@pytest.mark.parametrize(
    ("to", "group"),
    [
        ("g:" + "0f" * 16, "0f" * 16),
        ("g:" + "0F" * 16, None),
        ("g:" + "0f" * 16 + "\n", None),
        ("g:" + "0f" * 15, None),
        ("r:" + "0f" * 16, None),
        ("0f" * 16, None),
        ("g:", None),
    ],
)
def test_what_names_a_group(to: str, group: str | None) -> None:
    """HP-3.5-3: ``g:`` and 32 lower-case hexadecimal digits, and nothing else."""
    assert ids.group_of(to) == group
