"""The error and close code tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from homeport import codes

SPEC = Path(__file__).parents[2] / "protocol" / "SPEC.md"


def test_the_spec_holds_the_tables_as_the_code_has_them() -> None:
    """SPEC.md section 8.4 is what `python -m homeport.codes` prints."""
    printed = subprocess.run(
        [sys.executable, "-m", "homeport.codes"],
        cwd=SPEC.parents[1],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    between = SPEC.read_text().split("<!-- codes: begin -->\n")[1].split("<!-- codes: end -->")[0]
    assert between == printed


def test_every_number_and_every_name_means_one_thing() -> None:
    """A number that two constants shared would have swallowed one of them in the table."""
    constants = list(vars(codes).values())
    errors = [c for c in constants if isinstance(c, codes.ErrorCode)]
    closes = [c for c in constants if isinstance(c, codes.CloseCode)]
    assert list(codes.ERRORS.values()) == errors
    assert list(codes.CLOSES.values()) == closes
    assert len({e.name for e in errors}) == len(errors)
    assert len({c.name for c in closes}) == len(closes)


def test_the_meanings_fit_a_table_row_and_a_close_reason() -> None:
    """A `|` would break the table; RFC 6455 section 5.5 leaves 123 bytes for a reason."""
    meanings = [e.meaning for e in codes.ERRORS.values()]
    meanings += [c.meaning for c in codes.CLOSES.values()]
    assert all("|" not in meaning and meaning.endswith(".") for meaning in meanings)
    assert all(len(c.meaning.encode()) <= 123 for c in codes.CLOSES.values())


def test_all_close_codes_are_in_the_private_range() -> None:
    """RFC 6455 section 7.4.2 leaves 4000-4999 to applications."""
    assert all(4000 <= number <= 4999 for number in codes.CLOSES)


@pytest.mark.parametrize("number", [4000, 4006, 4321, 4499])
def test_the_lower_range_asks_the_client_back(number: int) -> None:
    """SPEC.md section 8.2: codes of 4000 to 4499, known or not."""
    assert codes.may_reconnect(number)


@pytest.mark.parametrize("number", [4500, 4507, 4888, 4999])
def test_the_upper_range_is_final(number: int) -> None:
    """SPEC.md section 8.2: codes of 4500 to 4999, known or not."""
    assert not codes.may_reconnect(number)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        *((code, True) for code in (1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015)),
        *((code, False) for code in (1002, 1003, 1007, 1008, 1009, 1010)),
    ],
)
def test_the_codes_of_rfc_6455(number: int, expected: bool) -> None:
    """SPEC.md section 8.2: what would only happen again is final, the rest is worth a retry."""
    assert codes.may_reconnect(number) is expected


def test_a_row_of_the_close_table_agrees_with_may_reconnect() -> None:
    """SPEC.md section 8.2 reads the same from a row and from a number."""
    for number, close in codes.CLOSES.items():
        assert close.reconnect == codes.may_reconnect(number)
