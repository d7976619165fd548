"""`homeport capacity`."""

from __future__ import annotations

from tests.gateway.cli.conftest import run


def test_it_says_what_is_needed_and_what_gives_way() -> None:
    """For people, and as JSON with the same figures."""
    options = ("capacity", "--users", "1000000", "--rate", "1667")
    ran = run(*options)
    assert ran.code == 0
    found = run(*options, "--json").json
    assert f"Redis primaries       {found['primaries']}, each with a replica" in ran.out
    assert f"what gives way first  {found['breaks'][0]}" in ran.out
    assert found["sessions"] == 100_000


def test_what_makes_no_sense_is_refused() -> None:
    """A tier that is none, a share above 1, no users."""
    for wrong in (["--tier", "gold"], ["--online", "2"], ["--users", "0"], ["--rate", "-1"]):
        assert run("capacity", "--users", "10", "--rate", "1", *wrong).code == 2
