"""`homeport app`, against a real store."""

from __future__ import annotations

import json
import re
import time

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.apps.settings import SETTINGS
from gateway.store.keys import Keys
from tests.gateway.apps.setting_values import another, bad_texts, good
from tests.gateway.cli.conftest import Ran, Region, run
from tests.gateway.security.tokening import derived


def test_a_created_app_is_pinned_to_its_region(region: Region) -> None:
    """G6: the id's first byte is the region's number, and the certificate is shown once."""
    made = region.create("--tier", "pro")
    assert made["id"].startswith("03")
    assert made["region"] == "eu"
    assert re.fullmatch("[0-9a-f]{64}", made["certificate"])
    assert made["certificate_007"] == derived(made["certificate"])
    shown = region.run("app", "show", made["id"], "--json")
    assert shown.json == {key: made[key] for key in made if not key.startswith("certificate")}


def test_list_shows_all_the_oldest_first(region: Region) -> None:
    """One JSON object a line, for scripts; no secrets in either form."""
    first, second = region.create(), region.create()
    listed = region.run("app", "list", "--json").out.splitlines()
    assert [line.partition('"id":"')[2][:32] for line in listed] == [first["id"], second["id"]]
    table = region.run("app", "list").out
    assert first["id"] in table
    for app in (first, second):
        assert app["certificate"] not in table + "".join(listed)


def test_usage_shows_the_fullest_app_first(region: Region) -> None:
    """An operator could not see which app fills Redis. What no walk has counted yet is no zero."""
    small, large = region.create(), region.create("--tier", "pro")
    keys, now_ms = Keys("eu"), time.time_ns() // 1_000_000
    with redis.Redis.from_url(region.valkey.url) as raw:
        for app, size in ((small, 1_000_000), (large, 2_000_000)):
            counts = {f"w{now_ms + 3_600_000}": size, "s": 500}
            raw.hset(keys.stored(app["id"], ""), mapping=counts)
        walked = {"users": 7, "groups": 2, "rooms": 1, "at": now_ms}
        raw.hset(keys.stored(large["id"], ""), mapping=walked)
        raw.hset(keys.connections, small["id"], "4")
    lines = region.run("app", "usage", "--json").out.splitlines()
    first, second = map(json.loads, lines)
    assert (first["id"], first["bytes"], first["limit"]) == (large["id"], 2_000_500, 256 << 30)
    assert (first["users"], first["groups"], first["rooms"]) == (7, 2, 1)
    assert first["counted"].startswith("20")
    assert (second["bytes"], second["connections"]) == (1_000_500, 4)
    assert second["users"] is second["counted"] is None
    table = region.run("app", "usage").out.splitlines()
    assert [line[:32].strip() for line in table] == ["APP ID", large["id"], small["id"]]
    assert "1,000,500" in table[2]
    assert " 1% " in table[2]


def test_an_empty_list_is_empty_for_scripts(region: Region) -> None:
    """The hint for people goes to stderr."""
    assert region.run("region", "init").code == 0
    ran = region.run("app", "list")
    assert ran.code == 0
    assert ran.out == ""
    assert "app create" in ran.err


# -- settings: nothing here names one to test what holds for all ---------------------------------


def set_(region: Region, app: str, name: str, text: str) -> Ran:
    """Run `homeport app set`; `text` may begin with a dash."""
    return run("app", "set", app, name, "--json", "--config", region.config, "--", text)


def test_every_setting_of_the_table_is_set_shown_kept_and_noted(region: Region) -> None:
    """A setting that is added to the table is there for operators, and nothing else knows of it:
    `app set`, its help, `app show`, the store, the audit, and the way back."""
    made = region.create("--tier", "pro")
    told = " ".join(run("app", "set", "--help").out.split())
    noted = []
    for name, setting in SETTINGS.items():
        value = another(setting, made[name])
        changed = set_(region, made["id"], name, str(value)).json
        assert changed[name] == value
        assert changed == region.run("app", "show", made["id"], "--json").json
        [line] = [
            line
            for line in region.run("app", "show", made["id"]).out.splitlines()
            if line.split()[0] == name
        ]
        assert line.endswith(f" {value}")
        noted.append(f"{name} {value}")
        assert f"{name}: {setting.kind.rule};" in told
        assert setting.means in told
        back = region.run("app", "set", made["id"], name, "--default", "--json")
        if setting.has_default:
            assert back.json[name] == setting.default
            noted.append(f"{name} {setting.default}")
        else:
            assert (back.code, back.out) == (2, "")
            assert f"{name} has no default; choose {setting.kind.rule}" in back.err
    notes = [json.loads(line) for line in region.run("audit", "--json").out.splitlines()]
    assert [
        note["about"] for note in notes if (note["action"], note["app"]) == ("app set", made["id"])
    ] == noted


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_set_comes_back_and_what_is_wrong_changes_nothing(
    region: Region, data: st.DataObject
) -> None:
    """A value comes back with its type, once it was stored and read; a wrong one is exit code 2."""
    one = data.draw(st.sampled_from(list(SETTINGS.values())))
    value, wrong = data.draw(good(one)), data.draw(bad_texts(one))
    made = region.create("--tier", "enterprise")
    assert set_(region, made["id"], one.name, str(value)).code == 0
    refused = set_(region, made["id"], one.name, wrong)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == f"homeport: {one.name} must be {one.kind.rule}\n"
    shown = region.run("app", "show", made["id"], "--json").json
    assert shown | {key: made[key] for key in made if key.startswith("certificate")} == made | {
        one.name: value
    }
    assert type(shown[one.name]) is type(value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["recall", "5"], "no setting 'recall'; there are recall_s, "),
        (["region", "cn"], "region can't be set: it is in the app's id"),
        (
            ["account", "mainland"],
            "account can't be set: the kind of account decided the app's region",
        ),
        (["id", "03" + "0" * 30], "id can't be set: everything stored is sealed under it"),
        (["certificate", "0" * 64], "homeport app rotate-certificate"),
        (["recall_s", "259201"], "recall_s may be 259200 at most in tier free, which keeps"),
        (["recall_s"], "give one of VALUE and --default"),
        (["recall_s", "5", "--default"], "give one of VALUE and --default"),
        ([], "NAME"),
    ],
)
def test_what_cannot_be_set_says_why(region: Region, arguments: list[str], says: str) -> None:
    """G6: an app keeps its region; a wrong name is answered with the right ones. Exit code 2."""
    made = region.create()
    ran = region.run("app", "set", made["id"], *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert region.run("app", "show", made["id"], "--json").json == {
        key: made[key] for key in made if not key.startswith("certificate")
    }


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
        (["create", "shop", "--tier", "gold"], 2, "must be one of free, basic, pro, enterprise"),
        (["create", "shop", "--account", "mars"], 2, "choose one of mainland, global"),
        (["create", "shop", "--account", "mainland"], 1, "may only create apps in cn"),
        (["create", ""], 2, "name"),
        (["show", "nonsense"], 2, "32 lower-case hex digits"),
        (["show", "02" + "0" * 30], 1, "belongs to region sg (Singapore)"),
        (["show", "ff" + "0" * 30], 1, "no region known here"),
        (["show", "03" + "0" * 30], 3, "no app"),
        (["set", "03" + "0" * 30, "tier", "free"], 3, "no app"),
        (["set", "02" + "0" * 30, "tier", "free"], 1, "belongs to region sg (Singapore)"),
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
