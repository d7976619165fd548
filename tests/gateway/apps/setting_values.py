"""Values for tests to try of any setting, by its kind: so a new setting needs no word in a test."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from gateway.apps.settings import Choice, Setting, Text, Value, Whole


def good(setting: Setting) -> st.SearchStrategy[Value]:
    """Values that the setting takes in the highest tier."""
    match setting.kind:
        case Whole(low, high):
            return st.integers(low, high) | st.sampled_from((low, high))
        case Choice(values):
            return st.sampled_from(values)
        case Text(valid=valid):
            hosts = st.text("abc.-", max_size=20)
            return (st.text(st.characters(codec="utf-8"), max_size=70) | hosts).filter(valid)
        case other:
            raise NotImplementedError(f"say here which values a {type(other).__name__} takes")


def bad_texts(setting: Setting) -> st.SearchStrategy[str]:
    """What a person may type that is no value of the setting."""
    text = st.text(st.characters(codec="utf-8"), max_size=80)
    match setting.kind:
        case Whole(low, high):
            numbers = (st.integers(max_value=low - 1) | st.integers(min_value=high + 1)).map(str)
            signed = st.integers(low, high).map("+{}".format)
            spaced = st.integers(low, high).map(" {}".format)
            other = text.filter(lambda each: not re.fullmatch("[0-9]+", each))
            odd = st.sampled_from(("9" * 5000, "\u0661\u0662", "1_0", "0x1f", "1e1", ""))
            return numbers | signed | spaced | other | odd
        case Choice(values):
            return text.filter(lambda each: each not in values) | st.sampled_from(
                [each.upper() for each in values]
            )
        case Text(valid=valid):
            return text.filter(lambda each: not valid(each)) | st.just("x" * 1000)
        case other:
            raise NotImplementedError(f"say here which values a {type(other).__name__} refuses")


def another(setting: Setting, value: Value) -> Value:
    """A value that the setting takes in the highest tier and that is not `value`."""
    match setting.kind:
        case Whole(low, high):
            return low if value != low else high
        case Choice(values):
            return next(each for each in values if each != value)
        case Text():
            return f"{value}x"
        case other:
            raise NotImplementedError(f"say here another value of a {type(other).__name__}")
