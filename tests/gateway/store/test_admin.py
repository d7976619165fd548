"""Admin: what the command line does to a region, and what gateways hear of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from gateway.apps.app import App, change, create_app
from gateway.apps.errors import InvalidSetting
from gateway.apps.settings import MAX_TOKEN_S
from gateway.redis.errors import Unavailable
from gateway.runtime.core import Core
from gateway.security.keyring import Keyring
from gateway.security.sealing import Kind, Sealer, Tampered
from gateway.security.tokens import Identity
from gateway.store import events
from gateway.store.errors import (
    AppExists,
    AppNotFound,
    TooManyRevoked,
    WrongKeys,
    WrongRegionStamp,
)
from gateway.store.keys import STAMP
from gateway.store.readers import Revocations
from gateway.store.region_clock import RegionClock
from gateway.store.server_facts import store_facts
from tests.gateway.conftest import Servers
from tests.gateway.store.conftest import APP_ID, Store

NOBODY = "02" + "e" * 30


async def test_apps_are_kept_and_listed_oldest_first(store: Store) -> None:
    """What was created is found again, by its id and in the list."""
    async with store.admin() as admin:
        later = create_app("later", "sg", "pro", "global", store.app.created_ms + 5)
        between = create_app("between", "sg", "pro", "global", later.created_ms - 1)
        await admin.apps.create(later, store.clock.ms)
        await admin.apps.create(between, store.clock.ms)
        assert await admin.apps.all() == [store.app, between, later]
        assert await admin.apps.get(later.id) == later
        assert await admin.apps.get(NOBODY) is None


async def test_redis_does_not_see_an_apps_secrets(store: Store) -> None:
    """G7: neither certificates nor the salt are in the clear, also after a rotation."""
    async with store.admin() as admin:
        rotated = await admin.apps.rotate_certificate(APP_ID, store.clock.ms)
    assert rotated.certificates[1] == store.app.certificates[0]
    for secret in (*rotated.certificates, store.app.salt.hex()):
        assert not store.holds(secret.encode())
        assert not store.holds(bytes.fromhex(secret))


async def test_a_record_copied_to_another_id_cannot_be_opened(store: Store) -> None:
    """G6, G7: who can write to Redis can't pass one app's certificates off as another's."""
    record: Any = store.raw.get(store.keys.app(APP_ID))
    store.raw.set(store.keys.app(NOBODY), record)
    async with store.admin() as admin:
        with pytest.raises(Tampered):
            await admin.apps.get(NOBODY)


async def test_changes_are_told_to_gateways_after_they_are_made(store: Store) -> None:
    """A gateway that reads the app when it hears of a change sees the change."""
    async with store.hearing(store.keys.apps_channel) as heard, store.admin() as admin:
        await admin.apps.change(APP_ID, "tier", "pro", store.clock.ms)
        assert (await heard.get())[1] == APP_ID.encode()
        changed = await admin.apps.get(APP_ID)
        assert changed == change(store.app, "tier", "pro")
        await admin.apps.rotate_certificate(APP_ID, store.clock.ms)
        assert (await heard.get())[1] == APP_ID.encode()
        await admin.apps.delete(APP_ID)
        assert (await heard.get())[1] == APP_ID.encode()
        assert await admin.apps.get(APP_ID) is None
        assert await admin.apps.all() == []


async def test_two_operators_at_once_lose_no_change(store: Store) -> None:
    """Each read the app, changed it and wrote it: the later one took back what the other had said,
    also that a certificate which had leaked is another one now."""
    async with store.admin() as one, store.admin() as other:
        before = await one.apps.existing(APP_ID)
        await asyncio.gather(
            *(one.apps.rotate_certificate(APP_ID, store.clock.ms) for _ in range(3)),
            *(other.apps.change(APP_ID, "recall_s", n, store.clock.ms) for n in (60, 61, 62)),
            one.apps.change(APP_ID, "device_policy", "refuse", store.clock.ms),
        )
        after = await other.apps.existing(APP_ID)
    assert after.device_policy == "refuse"
    assert after.recall_s in (60, 61, 62)
    assert before.certificates[0] not in after.certificates  # the third rotation drops it


async def test_a_change_brings_no_deleted_app_back(store: Store) -> None:
    """It was read before the deletion and written after it."""
    async with store.admin() as admin:

        def late(app: App) -> App:
            store.raw.delete(store.keys.app(APP_ID))  # as another operator's command does
            return app

        with pytest.raises(AppNotFound):
            await admin.apps.replace(APP_ID, late, store.clock.ms)
        assert await admin.apps.get(APP_ID) is None


async def test_a_change_that_may_be_made_is_said_to_be(one_store: Store) -> None:
    """Who repeats a rotation of which nobody knows makes the certificate void that was in use."""
    store = one_store
    async with store.admin() as admin:

        def cut(app: App) -> App:
            store.raw.client_kill_filter(_type="normal", skipme=True)
            return app

        with pytest.raises(Unavailable, match=f"homeport app show {APP_ID}") as unknown:
            await admin.apps.replace(APP_ID, cut, store.clock.ms)
    assert unknown.value.reason == "outcome_unknown"


async def test_an_app_that_goes_while_all_tokens_are_revoked_stops_nothing(store: Store) -> None:
    """G8: of a region whose key leaked every app's tokens are to be void."""
    async with store.admin() as admin:
        other = create_app("other", "sg", "pro", "global", store.app.created_ms + 1)
        await admin.apps.create(other, store.clock.ms)
        listed = await admin.apps.all()
        assert [app.id for app in listed] == [APP_ID, other.id]
        # Listed without a record, as by a deletion between the two.
        async with store.admin() as operator:

            async def deleted_since() -> list[App]:
                await operator.apps.delete(APP_ID)
                return listed

            admin.apps.all = deleted_since  # type: ignore[method-assign]
            await admin.access.revoke_region(store.clock.ms)
        assert (await admin.apps.existing(other.id)).revoked_before_ms == store.clock.ms


async def test_an_app_is_not_made_twice(store: Store) -> None:
    """What it is now is not written over by what it was."""
    async with store.admin() as admin:
        await admin.apps.change(APP_ID, "recall_s", 60, store.clock.ms)
        with pytest.raises(AppExists):
            await admin.apps.create(store.app, store.clock.ms)
        assert (await admin.apps.existing(APP_ID)).recall_s == 60


async def test_a_tier_change_and_a_deletion_make_every_inbox_due(store: Store) -> None:
    """G4: the sweeper looks at all of the app's inboxes next, and at no other app's."""
    users = [f"user{n}" for n in range(40)]
    for user in users:
        await store.fill(user, 1)
    other = store.keys.user(NOBODY, users[0])
    store.raw.zadd(other.due, {other.member: 5_000_000})
    async with store.admin() as admin:
        await admin.apps.change(APP_ID, "tier", "basic", store.clock.ms)
        assert {store.due(user) for user in users} == {0}
        assert store.raw.zscore(other.due, other.member) == 5_000_000
        assert store.due("nobody") is None
        await store.sweeper().sweep()
        assert 0 not in {store.due(user) for user in users}
        await admin.apps.delete(APP_ID)
    assert {store.due(user) for user in users} == {0}


async def test_a_deleted_apps_records_are_unreadable_at_once(store: Store) -> None:
    """G7: the salt goes with the app, before the sweeper has come; no key file brings it back."""
    sealer = Sealer(store.keyring)
    message = ("d:ann:bob", b"m" * 16)
    sealed = sealer.seal(store.app, Kind.MESSAGE, *message, b"text", store.clock.ms)
    await store.say("ann", record=sealed)
    async with store.admin() as admin:
        await admin.apps.delete(APP_ID)
    assert store.raw.get(store.keys.app(APP_ID)) is None
    again = replace(create_app("test", "sg", "free", "global", store.clock.ms), id=APP_ID)
    page = await store.talks.page(APP_ID, store.tier, "d:ann:sender", store.clock.ms, 1)
    [kept] = page.messages
    assert kept.record is not None
    with pytest.raises(Tampered):  # the same id does not make it the same app
        sealer.open(again, Kind.MESSAGE, *message, kept.record)


async def test_what_is_not_there_is_said(store: Store) -> None:
    """An unknown app or tier is an error that tells what to do, and changes nothing."""
    async with store.admin() as admin:
        for attempt in (
            admin.apps.change(NOBODY, "tier", "pro", 0),
            admin.apps.rotate_certificate(NOBODY, 0),
            admin.apps.delete(NOBODY),
            admin.access.revoke(NOBODY, "ann", 0),
            admin.access.kick(NOBODY, "ann"),
        ):
            with pytest.raises(AppNotFound, match="homeport app list") as missing:
                await attempt
            assert missing.value.app_id == NOBODY
        with pytest.raises(InvalidSetting, match="tier must be one of"):
            await admin.apps.change(APP_ID, "tier", "gold", 0)
        assert await admin.apps.get(APP_ID) == store.app


# -- revoke and kick -----------------------------------------------------------------------------


async def test_an_earlier_revocation_never_undoes_a_later_one(store: Store) -> None:
    """G8: two operators, or a repeated command, only ever revoke more."""
    key = store.keys.user(APP_ID, "ann").revoked
    now = store.clock.ms
    async with store.hearing(store.inboxes.channel(APP_ID, "ann")) as heard, store.admin() as admin:
        for before, stands in ((now, now), (now - 1, now), (now + 1, now + 1), (0, now + 1)):
            await admin.access.revoke(APP_ID, "ann", before)
            assert store.raw.hgetall(key) == {b"before": b"%d" % stands}
            assert events.parse((await heard.get())[1]) == events.Revoked(before)


@pytest.mark.parametrize("ahead_s", [-3600, 0, 3600])
async def test_a_revocation_is_remembered_as_long_as_such_tokens_live(
    store: Store, ahead_s: int
) -> None:
    """G8: longer than any token issued before it can live, by Redis' own clock, then forgotten.

    It was forgotten after the app's own longest life: had that been raised later, a token that was
    too long when it was issued would have been good again, and the revocation gone.
    """
    seconds, _ = store.raw.time()
    async with store.admin() as admin:
        await admin.access.revoke(APP_ID, "ann", (seconds + ahead_s) * 1000)
    left: Any = store.raw.pttl(store.keys.user(APP_ID, "ann").revoked)
    longest = (max(0, ahead_s) + MAX_TOKEN_S + 60) * 1000
    assert longest - 5000 < left <= longest


def identity(digest: str, ends_s: int) -> Identity:
    return Identity("ann", ends_s - 60, ends_s, "", digest)


async def test_one_token_is_revoked_beside_others(store: Store) -> None:
    """HP-6.4-5: neither takes the other back, and each is heard."""
    key = store.keys.user(APP_ID, "ann").revoked
    seconds, _ = store.raw.time()
    async with store.hearing(store.inboxes.channel(APP_ID, "ann")) as heard, store.admin() as admin:
        await admin.access.revoke_token(APP_ID, identity("abc", seconds + 3600))
        assert events.parse((await heard.get())[1]) == events.TokenVoided("abc")
        left: Any = store.raw.pttl(key)
        assert 3_600_000 < left <= 3_660_000 + 1000
        await admin.access.revoke(APP_ID, "ann", 1234)
        await admin.access.revoke_token(APP_ID, identity("abd", seconds + 60))
    found: Any = store.raw.hgetall(key)
    assert Revocations.parse([part for pair in found.items() for part in pair]) == Revocations(
        1234, frozenset(("abc", "abd"))
    )
    left = store.raw.pttl(key)
    assert left > MAX_TOKEN_S * 1000, "the longer time counts"


async def test_so_many_single_tokens_are_revoked_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: each is looked at when the user connects. What has ended makes room; the same again is no
    other; a revocation of all of the user's is always possible."""
    monkeypatch.setattr("gateway.store.access.MAX_REVOKED_TOKENS", 3)
    seconds, _ = store.raw.time()
    async with store.admin() as admin:
        for number, ends_s in enumerate((seconds - 1, seconds + 60, seconds + 60, seconds + 60)):
            await admin.access.revoke_token(APP_ID, identity(f"{number}", ends_s))
        await admin.access.revoke_token(APP_ID, identity("3", seconds + 60))
        with pytest.raises(TooManyRevoked, match="homeport token revoke --user"):
            await admin.access.revoke_token(APP_ID, identity("4", seconds + 60))
        await admin.access.revoke(APP_ID, "ann", 5)
    found: Any = store.raw.hgetall(store.keys.user(APP_ID, "ann").revoked)
    assert set(found) == {b"before", b"1", b"2", b"3"}


async def test_a_kick_is_heard(store: Store) -> None:
    """One device, or all of the user's."""
    async with store.hearing(store.inboxes.channel(APP_ID, "ann")) as heard, store.admin() as admin:
        await admin.access.kick(APP_ID, "ann", "phone")
        await admin.access.kick(APP_ID, "ann")
        assert events.parse((await heard.get())[1]) == events.Kicked("phone")
        assert events.parse((await heard.get())[1]) == events.Kicked("")


# -- the wall --------------------------------------------------------------------------------------


async def test_another_regions_admin_is_refused(store: Store, tmp_path: Path) -> None:
    """G6: nothing is read or written with the wrong region or keys."""
    eu = Keyring.create(tmp_path / "eu.json", "eu")
    before = sorted(store.raw.keys())
    app = create_app("test", "eu", "free", "global", 0)
    async with Core.at(store.url, eu).admin() as admin:
        for attempt in (
            admin.apps.create(app, 0),
            admin.apps.all(),
            admin.apps.get(app.id),
            admin.apps.delete(app.id),
        ):
            with pytest.raises(WrongRegionStamp):
                await attempt
    foreign = Keyring.create(tmp_path / "other.json", "sg")
    async with Core.at(store.url, foreign).admin() as admin:
        with pytest.raises(WrongKeys):
            await admin.apps.get(APP_ID)
    assert sorted(store.raw.keys()) == before
    assert set(store.raw.hgetall(STAMP)) == {b"region", b"schema", b"key:1"}


async def test_a_redis_that_is_away_is_said(keyring: Keyring, tmp_path: Path) -> None:
    """The command line shows Unavailable, never the redis library's own errors."""
    with pytest.raises(Unavailable):
        async with Core.at(f"unix://{tmp_path}/nothing.sock", keyring).admin() as admin:
            await admin.apps.all()


async def test_facts(one_store: Store, tmp_path: Path) -> None:
    """What `homeport doctor` goes by is what the server says."""
    info: Any = one_store.raw.info("server")
    async with one_store.admin() as admin:
        admin.region.clock = RegionClock(wall=lambda: time.time() - 100)
        facts = await store_facts(admin.link, admin.region)
    assert facts.server == ("Valkey" if "valkey_version" in info else "Redis")
    assert facts.version == info.get("valkey_version", info["redis_version"])
    assert (facts.append_only, facts.append_fsync, facts.eviction) == (
        False,
        "everysec",
        "noeviction",
    )
    assert (facts.replicas, facts.stamp_region, facts.stamp_problem) == (0, "sg", None)
    assert facts.wall_off_s is not None
    assert -110 < facts.wall_off_s <= -99
    assert facts.redis_off_s == 0
    foreign = Keyring.create(tmp_path / "other.json", "sg")
    async with Core.at(one_store.url, foreign).admin() as admin:
        assert isinstance((await store_facts(admin.link, admin.region)).stamp_problem, WrongKeys)


async def test_facts_without_config_or_stamp(servers: Servers, keyring: Keyring) -> None:
    """A managed Redis forbids CONFIG: what INFO does not tell is None; a fresh one stays fresh."""
    server = servers("--rename-command", "CONFIG", "")
    async with Core.at(server.url, keyring).admin() as admin:
        facts = await store_facts(admin.link, admin.region)
    assert (facts.append_only, facts.append_fsync, facts.eviction) == (False, None, "noeviction")
    assert (facts.stamp_region, facts.stamp_problem) == (None, None)
    with redis.Redis.from_url(server.url) as raw:
        assert raw.keys() == []
