"""`homeport region`: beginning a region, and what the other commands say of one that has not."""

from __future__ import annotations

import time

import msgspec
import pytest
import redis

from gateway.security.keyring import Keyring
from gateway.store.keys import STAMP
from tests.gateway.cli.conftest import Region


def empty(region: Region) -> None:
    """The region's Redis has lost everything."""
    with redis.Redis.from_url(region.valkey.url) as raw:
        raw.flushall()


def begun(region: Region) -> bool:
    """Whether the Redis has a stamp."""
    with redis.Redis.from_url(region.valkey.url) as raw:
        return bool(raw.exists(STAMP))


def test_a_region_is_begun_once_and_again_only_after_a_question(region: Region) -> None:
    """A person must say that all that the region had is lost."""
    assert region.run("region", "init").out == "begun: region eu\n"
    assert Keyring.load(region.folder / "keys.json", "eu").begun is not None
    assert "already" in region.run("region", "init").out
    empty(region)
    refused = region.run("region", "init")
    assert refused.code == 1
    assert "homeport region init --again" in refused.err
    assert region.run("region", "init", "--again", stdin="n\n").code == 1
    assert not begun(region)
    asked = region.run("region", "init", "--again", stdin="y\n")
    assert asked.code == 0
    assert "gone for good" in asked.out
    empty(region)
    assert region.run("region", "init", "--again", "--yes").code == 0
    assert begun(region)


def test_the_first_app_begins_a_region_and_no_later_one_does(region: Region) -> None:
    """`app create` on an empty Redis made a second region, which nobody's app was in."""
    unbegun = region.run("app", "list")
    assert unbegun.code == 1
    assert "has not begun yet" in unbegun.err
    assert not begun(region)
    region.create()
    assert begun(region)
    empty(region)
    for command in (("app", "create", "shop"), ("app", "list"), ("app", "show", "03" + "0" * 30)):
        refused = region.run(*command)
        assert refused.code == 1
        assert "this Redis is empty" in refused.err
    assert not begun(region)


def test_a_redis_of_other_keys_is_not_begun(region: Region) -> None:
    """G6: whatever is asked for."""
    region.run("region", "init")
    (region.folder / "keys.json").unlink()
    Keyring.create(region.folder / "keys.json", "eu")
    refused = region.run("region", "init", "--again", "--yes")
    assert refused.code == 1
    assert "another key" in refused.err


def test_doctor_calls_an_empty_redis_bad(region: Region) -> None:
    """It said ok, "the first gateway to start sets it", of a region that had lost everything."""
    region.create()
    assert "ok    region stamp      eu" in region.run("doctor").out
    empty(region)
    assert "BAD   region stamp      this Redis is empty" in region.run("doctor").out


def test_a_key_file_that_cannot_be_marked_is_said(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy, as in Kubernetes: a person begins the region with it, gateways never do."""

    def read_only(self: Keyring, now_ms: int | None = None) -> bool:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Keyring, "mark_begun", read_only)
    refused = region.run("app", "create", "shop")
    assert refused.code == 1
    assert "can't be marked as begun (Read-only file system)" in refused.err
    ran = region.run("region", "init")
    assert ran.code == 0
    assert "gateways with this copy of it begin no region" in ran.err
    assert region.create()["region"] == "eu"


def test_a_restored_backup_says_what_must_be_done_again(region: Region) -> None:
    """After a restore a revoked token was let in again, and nothing said so: not doctor, not the
    log. What was done after the backup is listed, until somebody says that it is done."""
    app = region.create()["id"]
    fine = region.run("region", "check")
    assert fine.code == 0
    with redis.Redis.from_url(region.valkey.url) as raw:
        backup = {key: raw.dump(key) for key in raw.scan_iter()}
        region.run("token", "revoke", "--user", "alice", "--app", app)
        region.run("app", "rotate-certificate", app)
        raw.flushall()
        for key, record in backup.items():
            assert isinstance(record, bytes)
            raw.restore(key, 0, record)
        hour_ago = int(time.time() * 1000) - 3_600_000
        raw.hset(STAMP, "seen", str(hour_ago))
    told = region.run("region", "check")
    assert told.code == 1
    assert f"token revoke {app} alice before" in told.out
    assert f"app rotate-certificate {app}" in told.out
    assert "no gateway was at work, or what was done then is not in this Redis" in told.out
    assert "homeport token revoke --all --region eu" in told.out
    assert "(not in Redis)" in region.run("audit").out
    assert region.run("region", "check", "--done").code == 0
    assert region.run("region", "check").code == 0
    noted = [msgspec.json.decode(line) for line in region.run("audit", "--json").out.splitlines()]
    assert {"app create", "token revoke", "region check --done"} <= {n["action"] for n in noted}
    assert all(n["in_redis"] for n in noted)
