"""An app that is deleted leaves nothing that names it, nor does a group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis
from homeport import Client
from homeport.limits import DEDUPE_WINDOW_MS

from gateway.config import Settings
from gateway.store.keys import Keys
from tests.chunks import chunk_of
from tests.harness import FakeClock, RunningWorker, running_worker, until
from tests.scenario import everything

PATIENCE_S = 30.0


def places(settings: Settings, needle: str) -> list[str]:
    """Where a Redis names `needle`: in a key's name, or anywhere in its value."""
    return sorted(_places(settings, needle.encode()))


def _places(settings: Settings, needle: bytes) -> Iterator[str]:
    with redis.Redis.from_url(settings.redis_url) as raw:
        names: Any = raw.keys()
        for name in names:
            if needle in name or needle in _value(raw, name):
                yield name.decode(errors="replace")


def _value(raw: redis.Redis, name: bytes) -> bytes:
    """All that a key holds, as Redis returns it: a dump may be compressed."""
    read: dict[bytes, Any] = {
        b"string": lambda: [raw.get(name)],
        b"hash": lambda: [part for pair in dict(_any(raw.hgetall(name))).items() for part in pair],
        b"list": lambda: raw.lrange(name, 0, -1),
        b"set": lambda: raw.smembers(name),
        b"zset": lambda: raw.zrange(name, 0, -1),
        b"stream": lambda: [str(raw.xrange(name)).encode()],
        b"none": list,
    }
    parts = read[_any(raw.type(name))]()
    return b"\0".join(part for part in parts if part is not None)


def _any(value: Any) -> Any:
    return value


async def settled(running: RunningWorker) -> None:
    """Two rounds of the sweeper: one that finds what is owed, and one that finds it settled."""
    for _ in range(2):
        await running.inside.sweep()


async def test_a_deleted_app_is_named_by_no_key(settings: Settings) -> None:
    """G4: after a day in the life of an app, with all that its users and its operator can ask for,
    its deletion leaves its id in the list of deleted apps, by which a gateway knows an app that was
    deleted from one that Redis has lost; and, for ten minutes, in the marks by which a message to a
    room is sent once. In nothing else."""
    async with running_worker(settings) as running:
        await everything(running)
        app_id = running.app.id
        assert len(places(settings, app_id)) > 20
        async with running.admin() as admin:
            await admin.apps.delete(app_id)
        await until(lambda: not running.inside.sessions(), "sessions of the app to end", PATIENCE_S)
        await settled(running)
        left = places(settings, app_id)
    allowed = {Keys(settings.region).deleted_apps}
    lasting = [name for name in left if name not in allowed and not _ends(settings, name)]
    assert lasting == []
    assert Keys(settings.region).deleted_apps in left


def _ends(settings: Settings, name: str) -> bool:
    """Whether Redis removes it by itself, within ten minutes."""
    with redis.Redis.from_url(settings.redis_url) as raw:
        return 0 < int(_any(raw.pttl(name))) <= DEDUPE_WINDOW_MS


async def test_a_deleted_group_is_named_by_no_key(settings: Settings, clock: FakeClock) -> None:
    """G4: what was said goes at once; once all members know that it has ended, and that message's
    time is over too, nothing names the group."""
    async with running_worker(settings, tier="free", clock=clock) as running:
        url, texts = running.url, []
        async with (
            Client(url, device="phone", token=running.token("ann")) as ann,
            Client(url, device="phone", token=running.token("bob")) as bob,
        ):
            group = await ann.create_group("all", ["bob", "absent"])
            await ann.send(group.peer, "hello")
            async for message in bob.messages():
                if message.peer == group.peer and message.kind == "text":
                    texts.append(message.text)
                    break
            assert texts == ["hello"]
            assert len(places(settings, group.id)) > 5
            await group.delete()
            head = Keys(settings.region).conversation(running.app.id, group.peer).head
            with redis.Redis.from_url(settings.redis_url) as raw:
                assert raw.hlen(chunk_of(raw, head)) == 1  # the notice
        clock.advance(running.app.tier.retention_ms / 1000 + 2 * 3600)
        await settled(running)
        left = places(settings, group.id)
        assert [name for name in left if not _ends(settings, name)] == []
