"""`homeport token` and `homeport kick`, against a real store."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from tests.gateway.cli.conftest import Region, run
from tests.gateway.security.tokening import APP, NOW_S, Packing, token


def test_a_new_token_is_good(region: Region) -> None:
    """Only the token is printed, so that it can be taken into a variable."""
    app = region.create()["id"]
    made = region.run("token", "new", "--user", "alice", "--app", app)
    checked = region.run("token", "check", made.out.strip(), "--json").json
    assert checked["app"] == app
    assert checked["user"] == "alice"


def test_a_token_can_come_from_stdin(region: Region) -> None:
    """A token on a command line is in the shell's history; `-` keeps it out."""
    app = region.create()["id"]
    token = region.run("token", "new", "--user", "alice", "--app", app).out
    assert region.run("token", "check", "-", stdin=token).code == 0


def test_what_a_token_says_is_shown_for_what_it_is_worth() -> None:
    """`token inspect` verifies nothing, so it takes a token of any app and form; times are shown as
    people read them, and those that are none as they are."""
    said = run("token", "inspect", Packing().token(), "--json").json
    assert said == {"form": "007", "iss": APP.id, "sub": "alice", "iat": NOW_S, "exp": NOW_S + 3600}
    shown = run("token", "inspect", token(iat="soon", exp=10**30, nbf=-1)).out
    assert "iat     soon" in shown
    assert f"exp     {10**30}" in shown
    assert "nbf     -1" in shown
    for bad in ("", "x", "007", "a.b", "a.b.c", "x" * 5000):
        assert run("token", "inspect", bad).code == 1


def test_lifetime_is_the_apps_limit_at_most(region: Region) -> None:
    """A token that no gateway would accept is not made."""
    app = region.create()["id"]
    made = region.run(
        "token", "new", "--user", "alice", "--app", app, "--lifetime", "60", "--json"
    ).json
    assert region.run("token", "check", made["token"]).code == 0
    refused = region.run("token", "new", "--user", "alice", "--app", app, "--lifetime", "86401")
    assert refused.code == 2
    assert "86400 s at most" in refused.err


def test_a_forged_token_is_refused_without_showing_it(region: Region) -> None:
    """G8: exit code 1, the error's meaning, and nothing of the token in the text."""
    app = region.create()["id"]
    token = region.run("token", "new", "--user", "alice", "--app", app).out.strip()
    forged = token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB")
    ran = region.run("token", "check", forged)
    assert ran.code == 1
    assert "signature" in ran.err
    assert token[:40] not in ran.err
    assert "alice" not in ran.err


@pytest.mark.parametrize("command", [("token", "revoke"), ("kick",)])
def test_revoke_and_kick_need_an_app_that_exists(region: Region, command: tuple[str, ...]) -> None:
    """A typo in the id must not look like success."""
    app = region.create()["id"]
    assert region.run(*command, "--user", "alice", "--app", app).code == 0
    missing = region.run(*command, "--user", "alice", "--app", "03" + "0" * 30)
    assert missing.code == 3
    unnamed = region.run(*command, "--user", "alice")
    assert unnamed.code == 2
    assert "--app" in unnamed.err


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T05:04:05+02:00", "2026-01-02T03:04:05Z"),
        ("1767323045", "2026-01-02T03:04:05Z"),
    ],
)
def test_revoke_takes_a_moment(region: Region, before: str, shown: str) -> None:
    """The answer repeats the moment in UTC, so that a wrong zone is noticed."""
    app = region.create()["id"]
    ran = region.run("token", "revoke", "--user", "alice", "--app", app, "--before", before)
    assert ran.out == f"revoked: tokens of alice issued before {shown}\n"


@pytest.mark.parametrize("before", ["yesterday", "2026-01-02T03:04:05", "2026-01-02"])
def test_a_moment_without_a_zone_is_refused(region: Region, before: str) -> None:
    """A revocation must not depend on the operator's time zone."""
    app = region.create()["id"]
    ran = region.run("token", "revoke", "--user", "alice", "--app", app, "--before", before)
    assert ran.code == 2
    assert "2026-01-02T03:04:05Z" in ran.err


def test_a_user_id_is_checked_before_anything_is_done(region: Region) -> None:
    """Exit code 2, with the characters that are allowed."""
    ran = region.run("token", "new", "--user", "a b", "--app", "03" + "0" * 30)
    assert ran.code == 2
    assert "A-Z a-z 0-9" in ran.err


def test_a_command_line_with_a_wrong_clock_goes_by_redis(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation "before now", made on a machine whose clock was ahead, voided every token that
    was to come; a token was good from tomorrow on, and an app was created next year."""
    right = time.time()
    monkeypatch.setattr(time, "time", lambda: right + 200 * 86_400)
    monkeypatch.setattr(time, "time_ns", lambda: int((right + 200 * 86_400) * 1e9))

    def is_now(text: str) -> bool:
        return abs(datetime.fromisoformat(text).timestamp() - right) < 60

    created = region.create()
    assert is_now(created["created"])
    token = region.run("token", "new", "--user", "alice", "--app", created["id"]).out.strip()
    assert is_now(region.run("token", "check", token, "--json").json["issued"])
    said = region.run("token", "revoke", "--user", "alice", "--app", created["id"]).out
    assert is_now(said.split()[-1])


def test_all_tokens_of_an_app_or_of_the_region_are_revoked(region: Region) -> None:
    """HP-6.4-3; by default those that a clock that is ahead has signed, too. A region is named, so
    that nobody logs everybody out by leaving something out."""
    apps = [region.create() for _ in range(2)]
    made = [
        region.run("token", "new", "--user", "alice", "--app", app["id"]).out.strip()
        for app in apps
    ]

    def good() -> list[bool]:
        return [region.run("token", "check", token).code == 0 for token in made]

    ran = region.run("token", "revoke", "--all", "--app", apps[0]["id"])
    assert ran.out.startswith("revoked: tokens of all of the app issued before ")
    assert good() == [False, True]
    assert region.run("token", "revoke", "--all", "--region", "sg").code == 1
    assert good() == [False, True]
    ran = region.run("token", "revoke", "--all", "--region", "eu")
    assert ran.out.startswith("revoked: tokens of all of region eu issued before ")
    assert good() == [False, False]


def test_one_token_is_revoked(region: Region) -> None:
    """HP-6.4-5: from the command line, or from stdin, which no history keeps. What lets nobody in
    anyway is said to, and is not revoked."""
    app = region.create()["id"]
    made = region.run("token", "new", "--user", "alice", "--app", app).out.strip()
    for options, stdin in (([made], ""), (["-"], made + "\n")):
        ran = region.run("token", "revoke", "--token", *options, stdin=stdin)
        assert ran.out.startswith("revoked: one token of alice, good until 20")
    assert made not in region.run("audit", "--json").out
    for forged in (made[:-4] + "AAAA", "x"):
        assert region.run("token", "revoke", "--token", forged).code == 1
    ran = region.run("token", "revoke", "--token", made, "--app", app)
    assert (ran.code, "goes with no other option" in ran.err) == (2, True)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--all"],
        ["--all", "--user", "alice"],
        ["--user", "alice", "--region", "eu"],
        ["--all", "--region", "eu", "--app", "03" + "0" * 30],
    ],
)
def test_a_revocation_says_whose_tokens(region: Region, options: list[str]) -> None:
    """Wrong usage, and nothing is done."""
    assert region.run("token", "revoke", *options).code == 2


def test_a_revocation_that_no_replica_has_is_said(region: Region) -> None:
    """G8: with `durability = "replica"` a failover would undo it, unknown to the operator."""
    app = region.create()["id"]
    text = region.config.read_text()
    region.config.write_text(text.replace('"memory"', '"replica"'))
    ran = region.run("token", "revoke", "--user", "alice", "--app", app)
    assert ran.code == 0
    assert ran.out.startswith("revoked: ")
    assert "0 of 1 replicas have it" in ran.err
    region.config.write_text(text)
    assert region.run("token", "revoke", "--user", "alice", "--app", app).err == ""
