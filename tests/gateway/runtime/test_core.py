"""What the processes of a region are built on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.redis.promises import Promises
from gateway.runtime.core import Core
from gateway.security.keyring import KeyringError
from gateway.store.errors import StampError
from gateway.tasks import Tasks
from tests.harness import make_settings


@pytest.mark.parametrize(
    ("durability", "more", "promises"),
    [
        ("memory", {}, Promises()),
        ("memory", {"allow_eviction": True}, Promises(allow_eviction=True)),
        ("fsync", {}, Promises(fsync=True)),
        ("replica", {"replicas": 2}, Promises(replicas=2)),
        ("fsync", {"replicas": 2}, Promises(fsync=True)),
    ],
)
def test_redis_has_to_keep_what_the_settings_say(
    tmp_path: Path, durability: str, more: dict[str, Any], promises: Promises
) -> None:
    """Replicas count where durability is theirs, and not else."""
    settings = make_settings("redis://127.0.0.1", tmp_path, durability=durability, **more)
    assert Core.of(settings).promises == promises


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """G7: nothing begins without the keys."""
    settings = make_settings("redis://127.0.0.1", tmp_path)
    settings.key_file.unlink()
    with pytest.raises((KeyringError, OSError), match=settings.key_file.name):
        Core.of(settings)


async def test_it_opens_only_the_redis_of_its_own_keys(redis_url: str, tmp_path: Path) -> None:
    """G6: the stamp that Redis bears is held against the key file as the link connects."""
    first = Core.of(make_settings(redis_url, tmp_path / "one"))
    other = Core.of(make_settings(redis_url, tmp_path / "two"))
    for core in (first, other):
        link, subscriber = core.open_redis(Tasks())
        try:
            if core is first:
                await link.start()
                assert link.up
            else:
                with pytest.raises(StampError):
                    await link.start()
        finally:
            await subscriber.aclose()
            await link.aclose()
