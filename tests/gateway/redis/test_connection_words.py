"""Commands that are made of words packed before are the commands that Redis reads."""

from __future__ import annotations

import hiredis
import pytest

from gateway.redis.connection import pack, together, words_of

WORDS: tuple[str | bytes | int, ...] = ("EVALSHA", "a\r\nb", "", b"\x00\r\n$5\r\n", "é", 0, 10**15)


@pytest.mark.parametrize("cut", range(len(WORDS) + 1))
def test_words_packed_apart_are_one_command(cut: int) -> None:
    """G1: whatever is in a word, a line's end or nothing, and wherever the parts meet."""
    command = together(words_of("SET"), words_of(*WORDS[:cut]), words_of(*WORDS[cut:]))
    assert command == pack(("SET", *WORDS))
    reader = hiredis.Reader()
    reader.feed(command)
    assert len(reader.gets()) == 1 + len(WORDS)
