"""`homeport doctor`: each thing that is wrong is seen, and its line says what to do."""

from __future__ import annotations

import json
import resource
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.cli.doctor import (
    KERNEL,
    OPEN_FILES,
    examine_access,
    examine_kernel,
    examine_keyring,
    examine_open_files,
    examine_store,
    examine_tls,
)
from gateway.config import Settings
from gateway.dev import certificates
from gateway.redis.url import RedisUrl
from gateway.security.keyring import Keyring
from gateway.store.errors import WrongRegionStamp
from gateway.store.keys import STAMP
from gateway.store.server_facts import StoreFacts
from tests.gateway.cli.conftest import Region
from tests.processes import PROGRAM

GOOD = StoreFacts(
    server="Redis",
    version="7.4.1",
    append_only=True,
    append_fsync="always",
    eviction="noeviction",
    replicas=1,
    primaries=1,
    wall_off_s=-0.01,
    redis_off_s=0.0,
    is_replica=False,
    used_share=0.5,
    disk_works=True,
    stamp_region="eu",
    stamp_problem=None,
)


def settings(durability: str = "fsync") -> Settings:
    """A gateway's settings; only the durability matters here."""
    return Settings.model_validate(
        {
            "region": "eu",
            "redis_url": "redis://localhost",
            "durability": durability,
            "key_file": "keys.json",
            "plain_listen": "127.0.0.1:0",
        }
    )


def test_a_real_region_is_examined(region: Region) -> None:
    """All lines against a running store; the open-file limit is this machine's own."""
    region.create()
    lines = region.run("doctor", "--json").out.splitlines()
    found = {item["check"]: item for item in map(json.loads, lines)}
    for check in ("key file", "Redis", "region stamp", "durability", "eviction", "clock"):
        assert found[check]["ok"], found[check]
    assert found["Redis"]["text"].startswith("Valkey 9.")
    assert found["region stamp"]["text"] == "eu"
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert found["open files"]["ok"] == (soft >= OPEN_FILES)


def test_a_missing_key_file_and_an_absent_store_are_lines_not_ends(region: Region) -> None:
    """The operator sees everything that is wrong in one run; exit code 1."""
    region.valkey.stop()
    away = region.run("doctor")
    assert away.code == 1
    assert "BAD   Redis" in away.out
    assert "open files" in away.out
    (region.folder / "keys.json").unlink()
    missing = region.run("doctor")
    assert missing.code == 1
    assert "there is no keyring" in missing.out
    assert "open files" in missing.out


def test_a_full_redis_is_examined_too(region: Region) -> None:
    """Doctor said `OutOfMemoryError`, and nothing of durability, eviction or the stamp."""
    region.create()
    with redis.Redis.from_url(region.valkey.url) as raw:
        raw.config_set("maxmemory", 1)
        lines = region.run("doctor", "--json").out.splitlines()
        raw.config_set("maxmemory", 0)
    found = {item["check"]: item for item in map(json.loads, lines)}
    for check in ("Redis", "region stamp", "durability", "eviction", "disk", "clock"):
        assert found[check]["ok"], found[check]
    assert not found["memory"]["ok"]
    assert "it is full" in found["memory"]["text"]


def test_a_replica_is_seen(region: Region) -> None:
    """Gateways were not ready on a Redis that had been made a replica; doctor found it well."""
    region.create()
    with redis.Redis.from_url(region.valkey.url) as raw:
        raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        lines = region.run("doctor", "--json").out.splitlines()
        raw.execute_command("REPLICAOF", "NO", "ONE")
    found = {item["check"]: item for item in map(json.loads, lines)}
    assert not found["Redis"]["ok"]
    assert "takes no writes" in found["Redis"]["text"]


def test_an_operators_user_need_not_listen() -> None:
    """Only gateways do, so the runbook gives no such right to people."""
    facts = replace(GOOD, lacks=("SSUBSCRIBE", "SUNSUBSCRIBE"))
    found = {finding.name: finding for finding in examine_store(facts, settings())}
    assert found["rights"].ok
    assert "not a gateway's" in found["rights"].text


def test_a_good_store_has_no_finding() -> None:
    """No advice where there is nothing to do."""
    assert all(finding.ok for finding in examine_store(GOOD, settings()))


@pytest.mark.parametrize(
    ("facts", "durability", "check", "says"),
    [
        (replace(GOOD, is_replica=True), "memory", "Redis", "point redis_url at its primary"),
        (replace(GOOD, version="6.2.14"), "memory", "Redis", "too old"),
        (
            replace(GOOD, stamp_region="na", stamp_problem=WrongRegionStamp("na", "eu")),
            "memory",
            "region stamp",
            "point redis_url at",
        ),
        (replace(GOOD, append_only=False), "memory", "durability", "set appendonly to yes"),
        (replace(GOOD, append_fsync="everysec"), "fsync", "durability", "set it to always"),
        (replace(GOOD, replicas=0), "replica", "durability", "no send can be accepted"),
        (replace(GOOD, eviction="allkeys-lru"), "memory", "eviction", "noeviction"),
        (replace(GOOD, wall_off_s=-5.1), "memory", "clock", "clock_wrong: -5.1 s from Redis'"),
        (replace(GOOD, redis_off_s=9.0), "memory", "clock", "clock_wrong: a primary's is +9.0 s"),
        (replace(GOOD, used_share=0.85), "memory", "memory", "85%"),
        (replace(GOOD, used_share=1.01), "memory", "memory", "it is full"),
        (replace(GOOD, lacks=("XADD", "WAIT")), "memory", "rights", "may not run XADD, WAIT"),
        (replace(GOOD, disk_works=False), "memory", "disk", "bgsave"),
        (replace(GOOD, stamp_unread="OOM"), "memory", "region stamp", "could not be compared: OOM"),
    ],
)
def test_what_is_wrong_with_a_store_is_seen(
    facts: StoreFacts, durability: str, check: str, says: str
) -> None:
    """Exactly the one thing that is wrong is reported (G1, G6)."""
    bad = [finding for finding in examine_store(facts, settings(durability)) if not finding.ok]
    assert [finding.name for finding in bad] == [check]
    assert says in bad[0].text


def test_settings_that_the_server_hides_are_not_guessed() -> None:
    """An ACL user need not have CONFIG: that is no fault, and is said."""
    hidden = replace(GOOD, append_only=None, append_fsync=None, eviction=None)
    findings = {finding.name: finding for finding in examine_store(hidden, settings())}
    assert findings["durability"].ok
    assert "does not show" in findings["durability"].text
    unasked = replace(GOOD, wall_off_s=None, redis_off_s=None)
    findings = {finding.name: finding for finding in examine_store(unasked, settings())}
    assert findings["clock"].ok
    assert "not compared" in findings["clock"].text


def test_tls_files_are_loaded_as_the_listener_would(tmp_path: Path) -> None:
    """A pair that fits is good; one that does not, or that everyone can read, is told."""
    now = datetime.now(UTC)
    certs = certificates.ensure(tmp_path, now)
    assert examine_tls(certs.cert, certs.key, now).ok
    assert not examine_tls(certs.ca, certs.key, now).ok
    assert "is not there" in examine_tls(tmp_path / "none.pem", certs.key, now).text
    certs.key.chmod(0o644)
    assert "chmod 600" in examine_tls(certs.cert, certs.key, now).text


def test_a_certificate_near_its_end_is_told(tmp_path: Path) -> None:
    """Two weeks before it expires, and after."""
    now = datetime.now(UTC)
    certs = certificates.ensure(tmp_path, now)
    near = examine_tls(certs.cert, certs.key, now + timedelta(days=390))
    assert not near.ok
    assert "renew it now" in near.text
    assert (
        "and not now: renew it"
        in examine_tls(certs.cert, certs.key, now + timedelta(days=400)).text
    )


YEAR_MS = 365 * 86_400_000
KEYS = {1: b"a" * 32, 2: b"b" * 32}


def test_a_key_that_seals_for_more_than_a_year_is_told() -> None:
    """G7: and not once its successor is on the way, nor where nobody noted since when it seals."""
    young = Keyring("eu", {1: 1}, KEYS)
    assert examine_keyring(young, YEAR_MS).ok
    old = examine_keyring(young, YEAR_MS + 2)
    assert not old.ok
    assert old.text == "versions 1, 2; 1 is active, for 365 days: run homeport keys rotate"
    assert examine_keyring(Keyring("eu", {1: 0}, KEYS), 9 * YEAR_MS).ok
    rotating = examine_keyring(Keyring("eu", {1: 1, 2: 2 * YEAR_MS}, KEYS), 2 * YEAR_MS - 1)
    assert rotating.ok
    assert rotating.text == "versions 1, 2; 1 is active; 2 takes over at 1972-01-01T00:00:00Z"


def test_a_key_file_that_was_rotated_apart_is_told(region: Region) -> None:
    """G5: before its key takes over, and the gateways can't read one another's messages."""

    def examined() -> dict[str, Any]:
        lines = region.run("doctor", "--json").out.splitlines()
        return {item["check"]: item for item in map(json.loads, lines)}

    region.create()
    region.run("keys", "rotate", str(region.folder / "keys.json"))
    assert examined()["region stamp"]["ok"]
    with redis.Redis.from_url(region.valkey.url) as store:
        assert not store.hexists(STAMP, "next:2")  # doctor changes nothing
        store.hset(STAMP, "next:2", "f" * 16)  # as a gateway with the other file does
    found = examined()
    assert "takes over" in found["key file"]["text"]
    assert not found["region stamp"]["ok"]
    assert "another key as version 2" in found["region stamp"]["text"]


def test_a_right_to_wait_that_is_missing_hides_nothing_else(region: Region) -> None:
    """G1: with `durability = "replica"` doctor stopped at the first right it asked for, WAIT, and
    told neither the others nor of memory, stamp and clock."""
    region.create()
    with redis.Redis.from_url(region.valkey.url) as store:
        store.execute_command(
            "ACL", "SETUSER", "gw", "on", ">pw", "~*", "&*", "+@all", "-wait", "-xadd"
        )
    url = region.valkey.url.replace("unix://", "unix://gw:pw@")
    text = region.config.read_text().replace(region.valkey.url, url)
    region.config.write_text(text.replace('"memory"', '"replica"'))
    lines = region.run("doctor", "--json").out.splitlines()
    found = {item["check"]: item for item in map(json.loads, lines)}
    assert {"region stamp", "durability"} <= found.keys()
    [rights] = [item["text"] for item in found.values() if "XADD" in item["text"]]
    assert "WAIT" in rights


def test_an_open_file_limit_that_is_too_low_is_told() -> None:
    """The text has the two ways to raise it."""
    low = examine_open_files({0: 1024}, OPEN_FILES)
    assert not low.ok
    assert "ulimit -n 65536" in low.text
    assert "LimitNOFILE=65536" in low.text
    assert examine_open_files({0: OPEN_FILES}, OPEN_FILES).ok
    assert examine_open_files({0: resource.RLIM_INFINITY}, OPEN_FILES).ok


def test_the_limit_is_the_running_gateways_and_not_the_shells() -> None:
    """A unit allows 200,000, and the shell of whoever looks 1,024: the line said to set what was
    set. And whose limit it is stands in it."""
    good = examine_open_files({4711: 200_000}, OPEN_FILES)
    assert good.ok and "the gateway's, process 4711" in good.text
    bad = examine_open_files({4711: 200_000, 4712: 1024, 4713: -1}, OPEN_FILES)
    assert not bad.ok and "process 4712" in bad.text and "LimitNOFILE" in bad.text
    assert "this command's" in examine_open_files({0: 1024}, OPEN_FILES).text


def test_a_running_gateway_is_asked_for_its_limit(region: Region) -> None:
    """With the configuration that it was started with; its own limit, and not that of this
    process."""
    region.create()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    own = soft - 24
    with subprocess.Popen(
        ["sh", "-c", f'ulimit -Sn {own}; exec "$0" serve --config "$1"', PROGRAM, region.config],
        stdout=subprocess.PIPE,
        text=True,
    ) as gateway:
        try:
            assert gateway.stdout is not None
            assert any(line.strip() == "ready" for line in gateway.stdout)
            told = region.run("doctor", "--json").out.splitlines()
            [line] = [text for text in told if '"open files"' in text]
        finally:
            gateway.terminate()
    assert f"{own}, the gateway's, process {gateway.pid}" in line


def test_a_kernel_that_has_room_for_few_is_told() -> None:
    """By the setting's name and how to set it; what can't be read is no fault."""
    assert examine_kernel({}).ok
    assert examine_kernel(KERNEL).ok
    low = examine_kernel({"net.core.somaxconn": 128})
    assert not low.ok and "sysctl -w net.core.somaxconn=" in low.text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://redis:6379", "without TLS (rediss://) and without a password"),
        ("redis://gw:p@redis", "without TLS (rediss://): see"),
        ("rediss://redis", "without a password (user:password@): see"),
        ("redis+cluster://gw:p@127.0.0.1,10.0.0.1", "without TLS"),
    ],
)
def test_a_redis_that_others_can_reach_is_told(url: str, says: str) -> None:
    """G7, G8: whoever listens on the way, or reaches the port, has the region's Redis."""
    found = examine_access(RedisUrl.parse(url))
    assert not found.ok
    assert says in found.text


@pytest.mark.parametrize("url", ["rediss://gw:p@redis", "redis://127.0.0.1", "unix:///run/r.sock"])
def test_a_redis_that_nobody_else_reaches_is_good(url: str) -> None:
    """Also without either, where nothing leaves the machine."""
    assert examine_access(RedisUrl.parse(url)).ok


def test_a_server_that_tells_nothing_of_itself_is_examined_all_the_same(region: Region) -> None:
    """A user without INFO: it was the end of all checks of Redis, without the command's name."""
    region.create()
    with redis.Redis.from_url(region.valkey.url) as store:
        store.acl_setuser("default", True, nopass=True, commands=["-info", "-config"])
    lines = region.run("doctor", "--json").out.splitlines()
    found = {item["check"]: item for item in map(json.loads, lines)}
    assert "may not use INFO" in found["Redis"]["text"]
    assert found["region stamp"]["ok"]
    assert found["clock"]["ok"]
