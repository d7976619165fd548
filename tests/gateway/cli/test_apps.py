"""`homeport app`, against a real store."""

from __future__ import annotations

import re

import pytest

from tests.gateway.cli.conftest import Region


def test_a_created_app_is_pinned_to_its_region(region: Region) -> None:
    """G6: the id's first byte is the region's number, and the certificate is shown once."""
    made = region.create("--tier", "pro")
    assert made["id"].startswith("03")
    assert made["region"] == "eu"
    assert re.fullmatch("[0-9a-f]{64}", made["certificate"])
    shown = region.run("app", "show", made["id"], "--json")
    assert shown.json == {key: made[key] for key in made if key != "certificate"}


def test_list_shows_all_the_oldest_first(region: Region) -> None:
    """One JSON object a line, for scripts; no secrets in either form."""
    first, second = region.create(), region.create()
    listed = region.run("app", "list", "--json").out.splitlines()
    assert [line.partition('"id":"')[2][:32] for line in listed] == [first["id"], second["id"]]
    table = region.run("app", "list").out
    assert first["id"] in table
    for app in (first, second):
        assert app["certificate"] not in table + "".join(listed)


def test_an_empty_list_is_empty_for_scripts(region: Region) -> None:
    """The hint for people goes to stderr."""
    assert region.run("region", "init").code == 0
    ran = region.run("app", "list")
    assert ran.code == 0
    assert ran.out == ""
    assert "app create" in ran.err


def test_the_tier_changes(region: Region) -> None:
    """An operator moves an app to what it has paid for."""
    made = region.create("--tier", "free")
    assert region.run("app", "set-tier", made["id"], "basic", "--json").json["tier"] == "basic"
    assert region.run("app", "show", made["id"], "--json").json["tier"] == "basic"


def test_the_device_policy_changes(region: Region) -> None:
    """HP-19.1-8: an operator chooses it at the creation, or later."""
    assert region.create()["device_policy"] == "replace"
    made = region.create("--device-policy", "refuse")
    assert made["device_policy"] == "refuse"
    changed = region.run("app", "set-device-policy", made["id"], "replace", "--json").json
    assert changed["device_policy"] == "replace"
    assert region.run("app", "show", made["id"], "--json").json["device_policy"] == "replace"


def test_the_time_to_recall_changes(region: Region) -> None:
    """HP-13.4-6: an operator chooses it; 0 is never, and more than a week is wrong usage."""
    made = region.create()
    assert made["recall_s"] == 120
    changed = region.run("app", "set-recall", made["id"], "0", "--json").json
    assert changed["recall_s"] == 0
    assert (
        region.run("app", "set-recall", made["id"], "604800", "--json").json["recall_s"] == 604800
    )
    for wrong in ("-1", "604801", "soon"):
        assert region.run("app", "set-recall", made["id"], wrong).code == 2
    assert region.run("app", "show", made["id"], "--json").json["recall_s"] == 604800


def test_rotation_keeps_the_certificate_before(region: Region) -> None:
    """G8: tokens of the old certificate stay good until the next rotation, then no more."""
    made = region.create()
    token = region.run("token", "new", "--user", "alice", "--app", made["id"]).out.strip()
    rotated = region.run("app", "rotate-certificate", made["id"], "--json").json
    assert rotated["certificate"] != made["certificate"]
    assert region.run("token", "check", token).code == 0
    region.run("app", "rotate-certificate", made["id"])
    assert region.run("token", "check", token).code == 1


def test_a_deleted_app_is_gone(region: Region) -> None:
    """Deleting asks first; afterwards the app is not found (exit code 3)."""
    made = region.create()
    refused = region.run("app", "delete", made["id"], stdin="n\n")
    assert refused.code == 1
    assert region.run("app", "show", made["id"]).code == 0
    assert region.run("app", "delete", made["id"], "--yes").code == 0
    gone = region.run("app", "show", made["id"])
    assert gone.code == 3
    assert "no app" in gone.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["create", "shop", "--tier", "gold"], 2, "choose one of free, basic, pro, enterprise"),
        (["create", "shop", "--device-policy", "fight"], 2, "choose one of replace, refuse"),
        (["create", "shop", "--account", "mars"], 2, "choose one of mainland, global"),
        (["create", "shop", "--account", "mainland"], 1, "may only create apps in cn"),
        (["create", ""], 2, "name"),
        (["show", "nonsense"], 2, "32 lower-case hex digits"),
        (["show", "02" + "0" * 30], 1, "belongs to region sg (Singapore)"),
        (["show", "ff" + "0" * 30], 1, "no region known here"),
        (["show", "03" + "0" * 30], 3, "no app"),
        (["set-tier", "03" + "0" * 30, "free"], 3, "no app"),
        (["set-device-policy", "03" + "0" * 30, "refuse"], 3, "no app"),
        (["rotate-certificate", "03" + "0" * 30], 3, "no app"),
        (["delete", "03" + "0" * 30, "--yes"], 3, "no app"),
    ],
)
def test_refusals_say_why(region: Region, arguments: list[str], code: int, says: str) -> None:
    """Each way to be refused has its exit code and one text that helps."""
    region.run("region", "init")
    ran = region.run("app", *arguments)
    assert ran.code == code
    assert says in ran.err
    assert ran.out == ""
