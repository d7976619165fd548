"""Each metric of a worker moves when that happens which it counts, by as much, and by nothing else.

The ops process' own are in tests/system/test_metrics.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from homeport import frames
from msgspec import msgpack

from gateway.dev import certificates
from gateway.ops.datagrams import MAX_BYTES
from gateway.redis.errors import Unavailable
from gateway.redis.node_link import NodeLink
from gateway.runtime import usage
from gateway.security.keyring import Keyring
from gateway.store.inbox import InboxStore, ReferencePage
from tests.gateway.net.raw import RawSocket, upgrade
from tests.gateway.redis.conftest import Heard
from tests.gateway.runtime.metered import CAP, OTHER, USER, Metered, push
from tests.harness import (
    FakeClock,
    RawClient,
    make_secure_settings,
    running_worker,
    until,
)


@pytest.fixture
def tier() -> str:
    """The tier of the gateway's app."""
    return "pro"


@pytest.fixture
async def metered(
    redis_url: str, tmp_path: Path, clock: FakeClock, tier: str
) -> AsyncIterator[Metered]:
    """A worker with a run folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    certs = certificates.ensure(tmp_path, datetime.now(UTC))
    # There is no ops process: reports go nowhere.
    settings = make_secure_settings(redis_url, tmp_path, certs, ops_listen="127.0.0.1:1")
    async with running_worker(settings, tier=tier, clock=clock, folder=folder) as running:
        yield Metered(running, folder)


async def test_a_conversation_is_counted(metered: Metered) -> None:
    """Three messages: three accepted, six in two inboxes, both of which somebody listens to."""
    running = metered.running
    async with running.client(USER) as alice, running.client(OTHER) as bob:
        for number in range(3):
            assert isinstance(await alice.say(OTHER, f"hello {number}"), frames.Ok)
        await push(bob, 3)
        now = metered.now
        assert now["net_connections"] == 2
        assert now["session_sessions{pro}"] == 2
        assert now["session_frames_total{connect}"] == 2
        assert now["session_frames_total{send}"] == 3
        assert now["session_frames_total{ack}"] == 1
        assert now["chat_messages_accepted_total"] == 3
        assert now["session_messages_delivered_total"] == 6
        assert now["session_messages_acked_total"] == 3
        assert now["chat_send_to_push_seconds_count"] == 6
        assert now["session_catchup_reads_total"] == 0
        assert now["session_gaps_found_total"] == 0
        assert now["session_redeliveries_total"] == 0
    await until(lambda: running.inside.open == 0)
    assert metered.now["session_sessions{pro}"] == 0
    assert metered.now["net_connections"] == 0


async def test_nobodys_name_is_in_the_exposition(metered: Metered) -> None:
    """Users, groups, rooms, devices, tokens, the app and the texts; labels and all."""
    running = metered.running
    token = running.token(USER)
    async with (
        RawClient.open(running.url) as alice,
        running.client(OTHER, "devicenottobeseen") as bob,
    ):
        await alice.connect(token, "devicenottobeseen", platform="platformnottobeseen")
        await alice.say(OTHER, "bodynottobeseen", "clientidnottobeseen")
        await alice.send(frames.RoomJoin(alice.request_id(), "roomnottobeseen"))
        await alice.say("r:roomnottobeseen", "bodynottobeseen")
        await alice.send(frames.GroupCreate(alice.request_id(), "c1", "groupnottobeseen", [OTHER]))
        await alice.send(frames.Ping())
        await alice.until(frames.Pong)
        await push(bob, 1)
        session = bob.connected.session
    async with RawClient.open(running.url) as nobody:
        await nobody.send(frames.Connect(1, "devicenottobeseen", token[:-4] + "AAAA"))
        await nobody.closed()
    text = metered.text
    assert "homeport_session_frames_total" in text
    hidden = [USER, OTHER, "nottobeseen", running.app.id, session, token, token[:40]]
    assert [word for word in hidden if word in text] == []


async def test_what_becomes_no_session_is_counted_by_reason(metered: Metered) -> None:
    """A wrong path, and an upgrade that does not come."""
    running = metered.running
    async with RawSocket.open(running.listening.plain) as raw:
        raw.writer.write(upgrade("/elsewhere"))
        assert (await raw.response())[0] == 404
    async with RawSocket.open(running.listening.plain) as raw:
        await until(lambda: running.inside.open == 1)
        running.pass_time(6)
        await raw.ended()
    now = metered.now
    assert now["net_refused_connections_total{bad_upgrade}"] == 1
    assert now["net_refused_connections_total{late_upgrade}"] == 1


async def test_closes_and_token_refusals_are_counted_by_name(metered: Metered) -> None:
    """An expired token, a forged one in a renewal, and a text message."""
    running = metered.running
    assert running.clock is not None
    expired = running.token(USER, now_s=running.clock.now - 7200, lifetime_s=60)
    async with RawClient.open(running.url) as client:
        await client.send(frames.Connect(1, "d1", expired))
        await client.closed()
    async with running.client(USER) as client:
        await client.send(frames.Renew(2, running.token(USER)[:-4] + "AAAA"))
        await client.until(frames.Error)
        await client.send("text")
        await client.closed()
    now = metered.now
    assert now["session_token_refusals_total{token_expired}"] == 1
    assert now["session_token_refusals_total{token_signature}"] == 1
    assert now["session_closes_total{unauthorized}"] == 1
    assert now["session_closes_total{bad_frame}"] == 1
    assert now["session_sessions{pro}"] == 0


async def test_a_hole_in_the_numbers_is_a_gap_found_and_healed(metered: Metered) -> None:
    """G3: a publish is lost; the next message shows it, and one page fills it."""
    running = metered.running
    async with running.client(USER) as alice, running.client(OTHER) as bob:
        await alice.say(OTHER, "1")
        await push(bob, 1)
        with running.inside.deaf():
            await alice.say(OTHER, "2")
            # What Redis says later of the publish would be heard otherwise.
            await running.inside.subscriber.subscribe("hp:sg:{0}:another", Heard())
        assert metered.now["session_gaps_found_total"] == 0
        await alice.say(OTHER, "3")
        await push(bob, 2)
        await metered.moves(session_gaps_healed_total=2, session_messages_delivered_total=6)
    now = metered.now
    assert now["session_gaps_found_total"] == 2  # alice's own inbox, too
    assert now["session_gaps_healed_total"] == 2
    assert now["session_catchup_reads_total"] >= 2
    assert now["session_messages_delivered_total"] == 6


async def test_a_hole_that_a_session_leaves_is_the_next_ones(
    metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3: Redis can't be read, so the holes stay; the sessions end. Nothing is missing for good:
    the next session is given all of it."""
    running = metered.running

    async def away(*_: object) -> ReferencePage:
        raise Unavailable("not now")

    with monkeypatch.context() as patched:
        async with running.client(USER) as alice, running.client(OTHER) as bob:
            patched.setattr(InboxStore, "page", away)
            with running.inside.deaf():
                await alice.say(OTHER, "1")
                await running.inside.subscriber.subscribe("hp:sg:{0}:another", Heard())
            await alice.say(OTHER, "2")
            await metered.moves(session_gaps_found_total=2)  # alice's own inbox, too
            await bob.send(frames.Ping())
            await bob.until(frames.Pong)
            assert metered.now["session_gaps_healed_total"] == 0
        await until(lambda: not running.inside.sessions())
    assert metered.now["session_gaps_healed_total"] == 2
    async with running.client(OTHER) as bob:
        assert (await bob.until(frames.Push)).number == 1
        assert (await bob.until(frames.Push)).number == 2
    assert metered.now["session_gaps_found_total"] == 2


async def test_what_was_not_acknowledged_is_a_redelivery(metered: Metered) -> None:
    """Of three messages the device had two without acknowledging them; one came while it was
    away, and is no redelivery."""
    running = metered.running
    async with running.client(USER) as alice:
        async with running.client(OTHER) as bob:
            await alice.say(OTHER, "1")
            await alice.say(OTHER, "2")
            await push(bob, 2, ack=False)
            running.pass_time(1)
        await until(lambda: running.inside.open == 1)
        await running.inside.saved()  # so the end of the session is saved
        running.pass_time(1)
        await alice.say(OTHER, "3")
        async with running.client(OTHER) as bob:
            await push(bob, 3)
    assert metered.now["session_redeliveries_total"] == 2


async def test_a_client_that_does_not_read_is_a_slow_consumer(metered: Metered) -> None:
    """Once, and not for each message that it does not read."""
    running = metered.running
    async with (
        RawSocket.open(running.listening.plain, receive_buffer=4096) as slow,
        running.client(USER) as alice,
    ):
        await slow.open_session(running.token(OTHER))
        slow.transport.pause_reading()
        for number in range(250):
            assert isinstance(await alice.say(OTHER, "x" * 30_000), frames.Ok)
            await alice.send(frames.Ack(number + 1))
            if running.inside.counts.slow_consumers:
                break
        assert metered.now["session_slow_consumers_total"] == 1


@pytest.mark.parametrize("tier", ["free"])
async def test_a_full_inbox_evicts(metered: Metered) -> None:
    """G5: what goes is counted: here five, of somebody who was never here, and none of the
    sender's, whose own inbox is acknowledged."""
    running = metered.running
    async with running.client(USER) as alice:
        for start in range(0, CAP + 5, 67):
            running.pass_time(5)
            numbers = range(start, min(start + 67, CAP + 5))
            for number in numbers:
                await alice.send(frames.Send(alice.request_id(), f"c{number}", OTHER, "text", b"x"))
            await push(alice, len(numbers))
            if numbers[-1] < CAP - 1:
                assert metered.now["store_inbox_evictions_total"] == 0
            await asyncio.sleep(0)
        await metered.moves(chat_messages_accepted_total=CAP + 5)
    assert metered.now["store_inbox_evictions_total"] == 5


async def test_the_fullest_apps_are_as_full_as_they_are(metered: Metered) -> None:
    """HP-17.5-1: an operator sees that apps run out of room, and no app's name."""
    running = metered.running
    async with running.client(USER):
        tier, storage = running.app.tier, running.inside.limits.storage
        storage.written(running.app.id, tier, "", tier.app_bytes // 2)
        assert metered.now["store_fullest_apps"] == pytest.approx(0.5, abs=0.01)


async def test_the_stores_gauges_go_by_the_clock_and_the_line(
    metered: Metered, clock: FakeClock
) -> None:
    """The sweeper's lag grows while it does not sweep; so does the key's age; the queue is what
    Redis has not answered."""
    before = metered.now
    clock.advance(100)
    now = metered.now
    lag = "store_sweeper_lag_seconds"
    assert now[lag] == pytest.approx(before[lag] + 100)
    assert now["security_key_age_seconds"] == before["security_key_age_seconds"] + 100
    link = metered.running.inside.link
    assert isinstance(link, NodeLink)
    waiting = link.call("BLPOP", "hp:sg:{0}:nothing", 5)
    asked = [link.call("PING") for _ in range(3)]
    assert metered.now["store_link_queue_commands"] >= 4
    with contextlib.suppress(Exception):
        link.abort()
        await asyncio.gather(waiting, *asked)


async def test_a_key_is_as_old_as_its_time_in_the_file(metered: Metered, clock: FakeClock) -> None:
    """A new one counts once it seals, and not before."""
    begun = metered.now["security_key_age_seconds"]
    live = metered.running.inside.keyring
    key_file = metered.running.inside.settings.key_file
    Keyring.rotate(key_file, 60, clock.ms)
    take_up = live.prepare(key_file)
    assert take_up is not None
    take_up()
    for seconds, age in ((30, begun + 30), (31, 1)):
        clock.advance(seconds)
        await live.settle()
        assert metered.now["security_key_age_seconds"] == age


async def test_a_device_that_comes_back_to_another_numbering_is_counted(metered: Metered) -> None:
    """Redis is older than it was: nothing else says that to an operator. One that comes for the
    first time, or goes on where it was, is none."""
    running = metered.running
    async with running.client(OTHER) as bob:
        cursor = bob.connected.cursor
    async with running.client(OTHER, cursor=cursor):
        assert metered.now["session_epoch_changes_total"] == 0
    old = frames.Cursor("another", 1_700_000_000_000, 7)
    async with running.client(OTHER, cursor=old) as bob:
        assert bob.connected.cursor.epoch == cursor.epoch
        assert metered.now["session_epoch_changes_total"] == 1


async def test_files_that_are_refused_are_told_until_they_are_mended(metered: Metered) -> None:
    """The gateway goes on with what it had, and nobody sees a log line of a week ago. A worker
    that is started anew has only the files."""
    reloading = metered.running.worker.reloading
    certificate = reloading.settings.tls_cert
    assert certificate is not None
    good = certificate.read_bytes()
    assert metered.now["runtime_reload_refused"] == 0
    for content, refused in ((b"nothing", 1), (good, 0)):
        certificate.write_bytes(content)
        reloading.ask()
        await reloading.look()
        assert metered.now["runtime_reload_refused"] == refused


async def test_keys_that_differ_are_told_until_they_are_mended(
    metered: Metered, tmp_path: Path, clock: FakeClock
) -> None:
    """Two operators rotated a copy of the file each: the gateway whose key came second does not
    seal with it, and can't open what the others seal."""
    running = metered.running
    mine = running.worker.reloading.settings.key_file
    theirs = Path(shutil.copy(mine, tmp_path / "theirs.json"))
    settings = running.worker.reloading.settings.model_copy(update={"key_file": theirs})
    async with running_worker(settings, clock=clock, app=running.app) as other:
        for worker, file, apart in ((other.worker, theirs, 0), (running.worker, mine, 1)):
            Keyring.rotate(file, 60, clock.ms)
            worker.reloading.ask()
            await worker.reloading.look()
            assert metered.now["security_keys_apart"] == apart
        shutil.copy(theirs, mine)
        running.worker.reloading.ask()
        await running.worker.reloading.look()
        assert metered.now["security_keys_apart"] == 0


async def test_the_certificates_end_is_told(metered: Metered) -> None:
    """In seconds since 1970."""
    certificate = metered.running.inside.settings.tls_cert
    assert certificate is not None
    ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    assert metered.now["net_certificate_expiry_timestamp_seconds"] == ends.timestamp()


async def test_pubsub_that_comes_back_is_counted(metered: Metered) -> None:
    """Redis cuts pub/sub clients, as it does with those that read too slowly."""
    assert metered.now["store_pubsub_reconnects_total"] == 0
    await metered.running.inside.link.call("CLIENT", "KILL", "TYPE", "pubsub")
    await metered.moves(store_pubsub_reconnects_total=1)


async def test_moved_slots_are_no_reconnect(metered: Metered) -> None:
    """A cluster moves slots as its daily business: what was missed is read, and nothing is wrong
    with the connection."""
    running = metered.running
    subscriber, inboxes = running.inside.subscriber, running.inside.inboxes
    async with running.client(USER) as alice, running.client(OTHER) as bob:
        with running.inside.deaf():
            await alice.say(OTHER, "1")
            # What was published came before this.
            await subscriber.subscribe("hp:sg:{0}:another", Heard())
        assert subscriber.on_missed is not None
        subscriber.on_missed(
            [inboxes.channel(running.app.id, user).encode() for user in (USER, OTHER)]
        )
        await push(bob, 1)
    assert metered.now["store_pubsub_reconnects_total"] == 0


async def test_the_loop_and_the_link_are_measured(metered: Metered) -> None:
    """Without anybody here: the probe and the reports go on."""
    await metered.moves(runtime_loop_lag_seconds_count=2, store_link_roundtrip_seconds_count=2)


async def test_every_frame_and_close_has_its_name_from_the_start(metered: Metered) -> None:
    """A counter that appears only with its first event hides that event from rate()."""
    now = metered.now
    assert now["session_frames_total{send}"] == 0
    assert now["session_closes_total{slow_consumer}"] == 0
    assert now["session_token_refusals_total{token_expired}"] == 0
    assert now["session_sessions{enterprise}"] == 0


async def test_a_report_stays_small(metered: Metered) -> None:
    """However much was counted: a datagram that is too long would be lost, each time. Names and
    labels are Homeport's own, so what grows are the numbers."""
    numbers = metered.running.inside.reporter.numbers()
    for name, value in numbers.values.items():
        each = dict.fromkeys(value, 2**53) if isinstance(value, dict) else 2**53
        numbers.values[name] = each  # type: ignore[assignment]
    for name, (cells, _) in numbers.histograms.items():
        numbers.histograms[name] = ([2**53] * len(cells), 1e9 / 3)
    assert 3_000 < len(msgpack.encode(numbers)) < MAX_BYTES / 2


async def test_what_a_worker_takes_is_told(metered: Metered) -> None:
    """Of processors (homeport_runtime_cpu_seconds_total), memory and descriptors; the version,
    homeport_build_info, is the ops process' to tell (tests/gateway/ops/test_pages.py)."""
    now = metered.now
    assert now["runtime_cpu_seconds_total"] > 0
    assert now["runtime_resident_memory_bytes"] > 10 * 2**20
    if usage.open_files():
        assert 3 < now["runtime_open_files"] < 1_000_000
