"""All workers seen as one: what they counted adds up, and a worker's death takes nothing back."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
from pathlib import Path

from gateway.ops.metrics import METRICS
from gateway.ops.totals import FILE
from gateway.runtime import control
from tests.harness import RawClient, until
from tests.processes import children
from tests.system.ops import Ops, samples
from tests.system.site import DEADLINE_S, OpenSite, ws

CLIENTS = 12
"""Enough for each of two workers to get one, but for one time in 2,000."""


async def test_two_workers_are_counted_as_one_and_a_dead_ones_counts_stay(
    open_site: OpenSite,
) -> None:
    """Sums to the last message; after a SIGKILL counters stand where they stood, gauges forget
    the dead, and the restart is counted."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway(workers=2, ops_listen=ops.address)
    await ops.until("/readyz", 200)
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for number in range(CLIENTS):
            client = await stack.enter_async_context(RawClient.open(ws(gateway)))
            await client.connect(site.token(f"user{number}"))
            clients.append(client)
        for number, client in enumerate(clients):
            for text in "abc":
                await client.say(f"user{(number + 1) % CLIENTS}", text)
        sent = 3 * CLIENTS

        def all_is_counted(now: dict[str, float]) -> bool:
            return (
                now["homeport_chat_messages_accepted_total"] == sent
                and now["homeport_session_frames_total{send}"] == sent
                and now["homeport_session_messages_delivered_total"] == 2 * sent
                and now["homeport_session_sessions{pro}"] == CLIENTS
                and now["homeport_net_connections"] == CLIENTS
            )

        await ops.metrics_until(all_is_counted)
        before = await ops.metrics()
        assert before["homeport_runtime_workers"] == 2
        assert before["homeport_runtime_ready"] == 1
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert before["homeport_runtime_open_files_limit"] == soft
        assert before["homeport_runtime_worker_restarts_total"] == 0
        assert before["homeport_runtime_drain_sessions"] == 0
        assert before["homeport_runtime_drain_left_sessions"] == 0
        os.kill(children(gateway.pid)[0], signal.SIGKILL)
        await ops.metrics_until(lambda now: now["homeport_runtime_worker_restarts_total"] == 1)
        await ops.until("/readyz", 200)
        after = await ops.metrics()
        assert 0 < after["homeport_net_connections"] < CLIENTS
        assert after["homeport_session_sessions{pro}"] == after["homeport_net_connections"]
        gauges = {name for name, metric in METRICS.items() if metric.type == "gauge"}
        back = {
            name: (before[name], value)
            for name, value in after.items()
            if name in before and value < before[name] and re.sub("{.*", "", name) not in gauges
        }
        assert back == {}
        assert after["homeport_runtime_workers"] == 2


async def test_an_ops_process_that_is_killed_takes_no_count_along(open_site: OpenSite) -> None:
    """Nor do a worker and the ops process that go at one stroke, as where memory is short: no
    counter is ever lower than it was shown."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway(workers=2, ops_listen=ops.address)
    first, second, watching = gateway.workers
    await ops.until("/readyz", 200)
    async with RawClient.open(ws(gateway)) as client:
        await client.connect(site.token("alice"))
        for text in "abc":
            await client.say("alice", text)
        accepted = "homeport_chat_messages_accepted_total"
        await ops.metrics_until(lambda now: now[accepted] == 3)
        before = await ops.metrics()
        for pid in (watching, first, second):
            os.kill(pid, signal.SIGKILL)
    lowest: list[float] = []

    async def both_are_back() -> bool:
        status, text = await ops.ask("/metrics")
        if status != 200:
            return False
        now = samples(text)
        lowest.append(now[accepted])
        counted = [name for name, metric in METRICS.items() if metric.type != "gauge"]
        assert [
            name
            for name in now
            if re.sub("({.*|_sum$|_count$)", "", name) in counted
            and METRICS[re.sub("({.*|_sum$|_count$)", "", name)].over != "own"
            and now[name] < before.get(name, 0)
        ] == []
        return now["homeport_runtime_workers"] == 2

    await until(both_are_back, within=DEADLINE_S)
    assert set(lowest) == {3}


async def test_what_is_exported_is_what_the_table_says(open_site: OpenSite) -> None:
    """Names, types, meanings and labels; but for the certificate, which is not there."""
    site, ops, api = await open_site(), Ops(), Ops()
    await site.gateway(workers=2, ops_listen=ops.address, api_listen=api.address)
    await ops.until("/readyz", 200)
    await api.until("/.well-known/homeport", 200)
    await ops.metrics_until(
        lambda found: (
            "homeport_store_memory_used_bytes" in found
            and "homeport_api_answers_total{200}" in found
        )
    )
    _, text = await ops.ask("/metrics")
    exported = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    told = {name: metric.type for name, metric in METRICS.items()}
    assert told.pop("homeport_net_certificate_expiry_timestamp_seconds") == "gauge"
    assert exported == told
    assert dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE)) == {
        name: METRICS[name].meaning for name in told
    }
    labels = {
        (re.sub("_bucket$", "", name), label)
        for name, label in re.findall(r"^(\w+){(\w+)=", text, re.MULTILINE)
    }
    assert labels == {
        (name, metric.label or "le")
        for name, metric in METRICS.items()
        if metric.label or metric.type == "histogram"
    }


async def test_what_back_ends_ask_is_counted(open_site: OpenSite) -> None:
    """Answers by status, how long they took, and connections: those of the API's own process."""
    site, ops, api = await open_site(), Ops(), Ops()
    await site.gateway(ops_listen=ops.address, api_listen=api.address)
    await api.until("/.well-known/homeport", 200)
    assert (await api.ask("/v1/conversations/d:a:b/messages"))[0] == 401
    await ops.metrics_until(
        lambda now: (
            now.get("homeport_api_answers_total{401}", 0) == 1
            and now["homeport_api_answers_total{200}"] >= 1
            and now["homeport_api_request_seconds_count"] >= 2
            and now["homeport_api_connections"] == 0
        )
    )


def test_every_metric_is_moved_by_a_test() -> None:
    """Whoever adds one adds the test that makes it move."""
    tests = Path(__file__).parents[1]
    files = [
        Path(__file__),
        tests / "gateway/runtime/test_measures.py",
        tests / "system/test_clock.py",
        tests / "system/test_lost_store.py",
        tests / "system/test_sick_redis.py",
    ]
    text = "".join(file.read_text() for file in files)
    assert [name for name in METRICS if name.removeprefix("homeport_") not in text] == []


async def test_the_metrics_are_gone_with_the_gateway(open_site: OpenSite) -> None:
    """Its run folder does not stay behind."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway(ops_listen=ops.address)
    await ops.until("/readyz", 200)
    (here,) = control.running(str(site.folder / "a.toml"))
    assert (await ops.ask("/metrics"))[0] == 200
    assert (here.folder / FILE).stat().st_size
    assert gateway.stop() == 0
    assert not here.folder.exists()
