"""A full Redis: what frees, what keeps sessions and what protects goes on; what adds is refused."""

from __future__ import annotations

import ast
import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

import gateway.redis
import gateway.store
from gateway.apps.app import create_app
from gateway.redis.errors import Unavailable
from gateway.redis.scripts import SCRIPTS
from gateway.security.keyring import Keyring
from gateway.security.tokens import Identity
from gateway.store import events, stamp
from gateway.store.keys import STAMP
from gateway.store.server_facts import store_facts
from tests.gateway.conftest import Servers
from tests.gateway.redis.conftest import node_link, until
from tests.gateway.store.conftest import APP_ID, Store, open_store
from tests.gateway.store.fullness import (
    ADDING,
    TALK,
    Region,
    full,
    recording,
)

REFUSED: Final = frozenset(
    {
        "conversation_edit",
        "conversation_send",
        "hooks_log",
        "hooks_note",
        "membership",
        "once",
        "own",
        "presence_set",
        "probe",
        "references",
        "room_send",
        "room_set",
    }
)
"""The scripts that a full Redis refuses: sends, and what users change at leisure."""

WORKING: Final = frozenset(
    {
        "audit",
        "block",
        "blocked_by",
        "conversation_erase",
        "conversation_floor",
        "conversation_last",
        "conversation_mark",
        "conversation_own",
        "conversation_page",
        "conversation_read",
        "conversation_recall",
        "conversation_sizes",
        "conversation_sweep",
        "deleted",
        "due_now",
        "gateways",
        "group_read",
        "group_signal",
        "groups_of",
        "hooks_again",
        "hooks_done",
        "hooks_lease",
        "hooks_log_sweep",
        "hooks_records",
        "hooks_sweep",
        "hooks_taken",
        "hooks_waiting",
        "inbox_ack",
        "inbox_attach",
        "inbox_check",
        "inbox_page",
        "inbox_sweep",
        "late",
        "lease",
        "measure",
        "put",
        "references_full",
        "revoke",
        "revoke_token",
        "rights",
        "room_join",
        "room_seats",
        "room_sweep",
        "room_signal",
        "row_mark",
        "rows",
        "rows_sweep",
        "scan",
        "scrub",
        "seen",
        "settled",
        "spend",
        "storage",
        "storage_counted",
        "time",
    }
)
"""Those that must work on one."""


@pytest.fixture
async def store(servers: Servers, keyring: Keyring) -> AsyncIterator[Store]:
    """A store on a server that nobody else uses."""
    async with open_store(servers().url, keyring) as opened:
        yield opened


async def test_a_script_that_is_new_takes_a_side() -> None:
    """What may be done on a full Redis is decided for each script, here and in its first line."""
    assert {*SCRIPTS} == REFUSED | WORKING
    for name, script in SCRIPTS.items():
        first, _, _ = script.text.partition("\n")
        assert ("allow-oom" in first or "no-writes" in first) == (name in WORKING), name


def _verbs() -> Iterator[tuple[str, str]]:
    """Every command that the code spells out, and the file that does."""
    folders = (*gateway.store.__path__, *gateway.redis.__path__)
    for path in (path for folder in folders for path in Path(folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            words = node.args[0].elts if isinstance(node.args[0], ast.Tuple) else node.args
            first = words[0] if words else None
            if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
                continue
            if first.value.isupper() and first.value.isalpha() and len(first.value) > 2:
                yield first.value, path.name


async def test_a_direct_command_that_is_new_takes_a_side(store: Store) -> None:
    """By the server's own word: what a full Redis refuses is sent only where that is meant."""
    told: Any = store.raw.command()

    def refuses(verb: str) -> bool:
        return "denyoom" in told.get(verb.lower(), {"flags": ()})["flags"]

    assert refuses("SET") and not refuses("GET")  # else nothing would be seen here
    found = {(verb, file) for verb, file in _verbs() if refuses(verb)}
    assert {verb for verb, _ in found} <= ADDING, found
    assert len({verb for verb, _ in _verbs()}) > 15


async def test_every_script_is_walked_on_a_full_redis(store: Store) -> None:
    """A full Redis could not be mended: nobody could attach, acknowledge, be revoked or swept, and
    so nothing became free. What frees goes on; sends are told to come back, and leave no trace."""
    async with recording(store) as link:
        region = Region(store, link)
        await region.live()
        refused = region.refused()
        with full(store):
            for name, act in refused.items():
                with pytest.raises(Unavailable) as refusal:
                    await act()
                assert refusal.value.reason == "oom", name
            for name, act in region.working().items():
                try:
                    await act()
                except Unavailable as error:
                    pytest.fail(f"{name}: {error}")
        seq, number = await region.numbers()
        for name, act in refused.items():
            if name != "heal":  # that is settled
                await act()  # there is room again
        # And nothing was done before: two messages and an edit's notice came; bob's inbox has the
        # notice of the group, too.
        assert await region.numbers() == (seq + 3, number + 4)
        walked = link.sent
    by_the_sweeper = {
        "lease",
        "seen",
        "room_sweep",
        "conversation_sweep",
        "inbox_sweep",
        "rows_sweep",
    }
    by_the_sweeper |= {"scan", "scrub", "measure", "storage_counted"}
    by_the_operator = {"audit", "deleted", "revoke", "revoke_token", "put", "due_now"}
    assert walked == (REFUSED | WORKING) - by_the_sweeper - by_the_operator - {"rights"}


async def test_the_sweeper_makes_room_on_a_full_redis(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G4: messages whose time was over lay in a full Redis for as long as it was full, because the
    sweeper's lease is a write, and so are the due lists that it keeps; now they make room."""
    async with recording(store) as link:
        region = Region(store, link)
        await region.live()
        body, entry = b"b" * 10_000, region.entry()
        big = [replace(entry, id=bytes([n % 256, n // 256]) * 8, record=body) for n in range(300)]
        to = region.talks.direct(APP_ID, "cat", "dan")
        await asyncio.gather(*(region.talks.send(APP_ID, region.tier, to, each) for each in big))
        # Nobody has settled any of it: everyone is owed a reference that can't be written now.
        used = int(store.raw.info("memory")["used_memory"])
        with full(store):
            heads = [store.keys.conversation(APP_ID, name).head for name in (TALK, "d:cat:dan")]
            left = [key for head in heads for key in store.raw.scan_iter(f"{head}:*")]
            assert len(left) == 4
            left.append(store.keys.inbox(APP_ID, "dan").refs.encode())
            store.clock.advance(store.app.tier.retention_ms / 1000 + 1)
            sweeper = store.sweeper()
            monkeypatch.setattr("gateway.store.sweeper.INTERVAL_S", 0.01)
            running = asyncio.create_task(sweeper.run())
            try:
                await until(lambda: not store.raw.exists(*left))
            finally:
                running.cancel()
            assert int(store.raw.info("memory")["used_memory"]) < used - 2_000_000
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_an_operator_can_act_while_redis_is_full(store: Store) -> None:
    """G8: a stolen token could not be revoked, a leaked certificate not be replaced, and the app
    that filled Redis not be deleted: the stamp is written before anything, and so were they."""
    async with recording(store) as link:
        region = Region(store, link)
        for n in range(50):
            to = region.talks.direct(APP_ID, f"u{n}", "bob")
            await region.talks.send(APP_ID, region.tier, to, region.entry())
    other = create_app("other", "sg", "free", "global", store.clock.ms)
    with full(store):
        async with store.admin() as admin:
            assert [app.id for app in await admin.apps.all()] == [APP_ID]
            async with store.hearing(store.keys.user(APP_ID, "ann").channel) as heard:
                await admin.access.revoke(APP_ID, "ann", store.clock.ms)
                assert await heard.get() == (
                    store.keys.user(APP_ID, "ann").channel.encode(),
                    events.revoked(store.clock.ms),
                )
                ends_s = store.clock.ms // 1000 + 60
                await admin.access.revoke_token(
                    APP_ID, Identity("ann", ends_s - 60, ends_s, "", "abc")
                )
                assert (await heard.get())[1] == events.token_voided("abc")
            before = await admin.apps.get(APP_ID)
            after = await admin.apps.rotate_certificate(APP_ID, store.clock.ms)
            assert before is not None
            assert after.certificates[0] not in before.certificates
            assert (
                await admin.apps.change(APP_ID, "tier", "pro", store.clock.ms)
            ).tier.name == "pro"
            await admin.access.kick(APP_ID, "ann")
            assert (await store_facts(admin.link, admin.region)).stamp_problem is None
            with pytest.raises(Unavailable, match="OOM"):
                await admin.apps.create(other, store.clock.ms)
            await admin.apps.delete(APP_ID)
        await store.sweeper().sweep()
        refs = [store.keys.inbox(APP_ID, f"u{n}").refs for n in range(50)]
        assert not store.raw.exists(*refs)
    assert store.raw.exists(store.keys.app(other.id)) == 0


async def test_a_gateway_connects_to_a_full_redis(store: Store) -> None:
    """A gateway that was restarted stood in its start for as long as Redis was full, because the
    stamp was written before it was read."""
    with full(store):
        link = node_link(store.url, stamp.RegionIdentity.of(store.keyring))
        try:
            async with asyncio.timeout(10):
                await link.start()
            assert await link.call("HGET", STAMP, "region") == b"sg"
        finally:
            await link.aclose()
