"""From what a worker's parts have counted to the names of the metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.net.listener import Listener
from gateway.net.tls import Certificate
from gateway.ops.board import FAULTS
from gateway.redis.errors import WrongServer
from gateway.redis.link import Link
from gateway.redis.promises import Promises
from gateway.runtime import usage
from gateway.runtime.recovery import Recovery
from gateway.runtime.reload import Reloading
from gateway.runtime.rotation import LiveKeyring
from gateway.session.counts import Counts
from gateway.store.inbox import InboxStore
from gateway.store.log import LogStore
from gateway.store.region_clock import RegionClock
from gateway.store.sweeper import Sweeper
from gateway.tally import Tally

if TYPE_CHECKING:
    from gateway.ops.exporter import Exporter


@dataclass(frozen=True, slots=True)
class Measures:
    """Where a worker's numbers are.

    `wall` is the time; `failing` is `Probe.failing`.
    """

    counts: Counts
    inboxes: InboxStore
    logs: LogStore
    link: Link
    sweeper: Sweeper
    send_to_push: Tally
    listener: Listener
    recovery: Recovery
    keyring: LiveKeyring
    reloading: Reloading
    certificate: Certificate | None
    wall: Callable[[], float]
    clock: RegionClock
    promises: Promises
    failing: Callable[[], str]

    def export(self, exporter: Exporter) -> None:
        """Tell all of it."""
        tell, counts = exporter.tell, self.counts
        tell("homeport_runtime_cpu_seconds_total", usage.cpu_s())
        tell("homeport_runtime_resident_memory_bytes", usage.resident_bytes())
        if open_files := usage.open_files():
            tell("homeport_runtime_open_files", open_files)
        tell("homeport_net_connections", self.listener.open)
        for reason, count in (counts.refused | self.listener.refused).items():
            tell("homeport_net_refused_connections_total", count, reason)
        for tier, count in counts.sessions.items():
            tell("homeport_session_sessions", count, tier)
        for type_, count in counts.frames.items():
            tell("homeport_session_frames_total", count, type_.__name__.lower())
        tell("homeport_chat_messages_accepted_total", counts.accepted)
        tell("homeport_session_messages_delivered_total", counts.delivered)
        tell("homeport_session_messages_acked_total", counts.acked)
        tell("homeport_session_catchup_reads_total", counts.catch_up_reads)
        tell("homeport_session_gaps_found_total", counts.gaps_found)
        tell("homeport_session_gaps_healed_total", counts.gaps_healed)
        tell("homeport_session_redeliveries_total", counts.redeliveries)
        tell("homeport_session_slow_consumers_total", counts.slow_consumers)
        tell("homeport_session_epoch_changes_total", counts.epoch_changes)
        for code, count in counts.closes.items():
            tell("homeport_session_closes_total", count, code)
        for code, count in counts.errors.items():
            tell("homeport_session_errors_total", count, code)
        for reason, count in counts.token_refusals.items():
            tell("homeport_session_token_refusals_total", count, reason)
        exporter.tally("homeport_chat_send_to_push_seconds", self.send_to_push)
        tell("homeport_store_inbox_evictions_total", self.inboxes.evictions)
        lost_keys = self.inboxes.lost_keys + self.logs.lost_keys
        tell("homeport_store_lost_keys_total", lost_keys)
        tell("homeport_store_sweeper_lag_seconds", self.sweeper.lag_s)
        tell("homeport_store_link_queue_commands", self.link.queued)
        tell("homeport_store_wrong_redis", int(isinstance(self.link.refused, WrongServer)))
        tell("homeport_store_pubsub_reconnects_total", self.recovery.reconnects)
        tell("homeport_security_keys_apart", len(self.keyring.apart))
        tell("homeport_runtime_reload_refused", int(self.reloading.refused))
        failing = self.failing()
        for fault in FAULTS:
            tell("homeport_runtime_probe_failing", int(fault == failing), fault)
        self._servers(tell)
        key_since_ms = self.keyring.sealing_since_ms()
        if key_since_ms:
            age = round(self.wall() - key_since_ms / 1000)
            tell("homeport_security_key_age_seconds", age)
        off_s = {"gateway": self.clock.wall_off_s, "redis": self.clock.redis_off_s}
        for clock, seconds in off_s.items():
            tell("homeport_runtime_clock_off_seconds", round(abs(seconds), 3), clock)
        if self.certificate is not None:
            ends = self.certificate.ends.timestamp()
            tell("homeport_net_certificate_expiry_timestamp_seconds", ends)

    def _servers(self, tell: Callable[..., None]) -> None:
        """What Redis says of itself: of several primaries, the worst."""
        conditions = self.link.conditions
        if not conditions:
            return
        fullest = max(conditions, key=lambda condition: condition.used_share)
        tell("homeport_store_memory_used_bytes", fullest.used_bytes)
        tell("homeport_store_memory_limit_bytes", fullest.limit_bytes)
        settings = [self.promises.settings(condition) for condition in conditions]
        for name in settings[0]:
            tell("homeport_store_setting", max(each[name] for each in settings), name)
        for name, fine in (
            ("aof", [condition.log_written for condition in conditions]),
            ("rdb", [condition.saved for condition in conditions]),
        ):
            tell("homeport_store_persistence_failing", int(False in fine), name)
