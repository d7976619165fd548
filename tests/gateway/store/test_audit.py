"""Notes of what operators did: where they lie, and what is left of them."""

from __future__ import annotations

import stat
from pathlib import Path

from gateway.redis.scripts import SCRIPTS
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store import audit
from gateway.store.keys import STAMP
from gateway.store.sweeper import GAPS_KEPT, SILENT_MS
from tests.gateway.store.conftest import APP_ID, Store


async def test_what_an_operator_does_is_noted_sealed_in_both_places(store: Store) -> None:
    """G7: who reads Redis or the file reads no user id there."""
    async with store.admin() as admin:
        await admin.access.revoke(APP_ID, "alice@example", 5)
        await admin.apps.rotate_certificate(APP_ID, store.clock.ms)
        await admin.access.kick(APP_ID, "alice@example", "phone")
        there, only_here = await admin.region.notes()
    assert [note.action for note in there] == [
        "region init",
        "app create",
        "token revoke",
        "app rotate-certificate",
        "kick",
    ]
    assert there[2].about == "alice@example before 5"
    assert there[2].app == APP_ID
    assert only_here == []
    assert not store.holds(b"token revoke")
    assert store.keyring.path is not None
    path = audit.file_of(store.keyring.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(audit.kept(path)) == 5
    assert b"alice" not in b"".join(audit.kept(path))


async def test_what_redis_has_lost_is_in_the_file(store: Store) -> None:
    """Redis comes from a backup: what was done after it is what must be done again."""
    async with store.admin() as admin:
        backup = store.raw.dump(store.keys.audit)
        assert isinstance(backup, bytes)
        await admin.access.revoke(APP_ID, "alice", 5)
        store.raw.restore(store.keys.audit, 0, backup, replace=True)
        _, only_here = await admin.region.notes()
        assert [note.action for note in only_here] == ["token revoke"]
        await admin.region.settle()
        assert (await admin.region.notes())[1] == []


def test_both_places_are_bounded(tmp_path: Path, keyring: Keyring) -> None:
    """G9: the oldest notes go."""
    path, sealer = tmp_path / "keys.json.audit", Sealer(keyring)
    most = audit.KEPT + audit.KEPT // 4
    for ms in range(most + 1):
        audit.keep(path, audit.seal(sealer, audit.note(ms, "kick")))
    left = audit.opened(sealer, audit.kept(path))
    assert [note.ms for note in left] == list(range(most + 1 - audit.KEPT, most + 1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_time_without_gateways_is_noted_and_only_the_last_are_kept(store: Store) -> None:
    """A restore from a backup is such a time: what the copy noted last is long ago."""

    async def seen() -> object:
        return await store.link.run(
            SCRIPTS["seen"], (STAMP, store.keys.stamp_clock), SILENT_MS, GAPS_KEPT
        )

    assert await seen() is None
    assert await seen() is None
    async with store.admin() as admin:
        last, gaps = await admin.region.life()
        assert last is not None
        assert gaps == []
        for hours in range(GAPS_KEPT + 2, 0, -1):
            store.raw.hset(STAMP, "seen", str(last - hours * 3_600_000))
            assert await seen() == str(last - hours * 3_600_000).encode()
        _, gaps = await admin.region.life()
        assert [since for since, _ in gaps] == [
            last - hours * 3_600_000 for hours in range(GAPS_KEPT, 0, -1)
        ]
        await admin.region.settle()
        assert (await admin.region.life())[1] == []
