"""From what a worker's parts have counted to the names of the metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.net.listener import Listener
from gateway.net.tls import Certificate
from gateway.ops.board import FAULTS
from gateway.ops.datagrams import Numbers
from gateway.redis.errors import WrongServer
from gateway.redis.link import Link
from gateway.redis.promises import Promises
from gateway.runtime import usage
from gateway.runtime.recovery import Recovery
from gateway.runtime.reload import Reloading
from gateway.runtime.rotation import LiveKeyring
from gateway.session.counts import Counts
from gateway.store.conversations import ConversationStore
from gateway.store.inbox import InboxStore
from gateway.store.region_clock import RegionClock
from gateway.store.sweeper import Sweeper
from gateway.tally import Tally


@dataclass(frozen=True, slots=True)
class Measures:
    """Where a worker's numbers are.

    `wall` is the time; `failing` is `Probe.failing`.
    """

    counts: Counts
    conversations: ConversationStore
    inboxes: InboxStore
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

    def numbers(self) -> Numbers:
        """All of it. Counts that go on are in it, so it is to be sent at once."""
        counts, failing = self.counts, self.failing()
        values: dict[str, float | dict[str, float]] = {
            "homeport_runtime_cpu_seconds_total": usage.cpu_s(),
            "homeport_runtime_resident_memory_bytes": usage.resident_bytes(),
            "homeport_net_connections": self.listener.open,
            "homeport_net_refused_connections_total": {**counts.refused, **self.listener.refused},
            "homeport_session_sessions": {**counts.sessions},
            "homeport_session_frames_total": {
                type_.__name__.lower(): count for type_, count in counts.frames.items()
            },
            "homeport_chat_messages_accepted_total": counts.accepted,
            "homeport_session_messages_delivered_total": counts.delivered,
            "homeport_session_messages_acked_total": counts.acked,
            "homeport_session_catchup_reads_total": counts.catch_up_reads,
            "homeport_session_gaps_found_total": counts.gaps_found,
            "homeport_session_gaps_healed_total": counts.gaps_healed,
            "homeport_session_redeliveries_total": counts.redeliveries,
            "homeport_session_slow_consumers_total": counts.slow_consumers,
            "homeport_session_epoch_changes_total": counts.epoch_changes,
            "homeport_session_closes_total": {**counts.closes},
            "homeport_session_errors_total": {**counts.errors},
            "homeport_session_token_refusals_total": {**counts.token_refusals},
            "homeport_store_inbox_evictions_total": self.conversations.fanout.evictions,
            "homeport_store_lost_keys_total": self.conversations.fanout.lost_keys
            + self.inboxes.lost_keys
            + self.sweeper.lost_keys,
            "homeport_store_fullest_apps": round(self.conversations.storage.fullest_tenth, 4),
            "homeport_store_sweeper_lag_seconds": self.sweeper.lag_s,
            "homeport_store_link_queue_commands": self.link.queued,
            "homeport_store_wrong_redis": int(isinstance(self.link.refused, WrongServer)),
            "homeport_store_pubsub_reconnects_total": self.recovery.reconnects,
            "homeport_security_keys_apart": len(self.keyring.apart),
            "homeport_runtime_reload_refused": int(self.reloading.refused),
            "homeport_runtime_probe_failing": {fault: int(fault == failing) for fault in FAULTS},
            "homeport_runtime_clock_off_seconds": {
                "gateway": round(abs(self.clock.wall_off_s), 3),
                "redis": round(abs(self.clock.redis_off_s), 3),
            },
            **self._servers(),
        }
        if open_files := usage.open_files():
            values["homeport_runtime_open_files"] = open_files
        if since_ms := self.keyring.sealing_since_ms():
            values["homeport_security_key_age_seconds"] = round(self.wall() - since_ms / 1000)
        if self.certificate is not None:
            ends = self.certificate.ends.timestamp()
            values["homeport_net_certificate_expiry_timestamp_seconds"] = ends
        tally = self.send_to_push
        return Numbers(
            values,
            {"homeport_chat_send_to_push_seconds": (tally.cells, tally.total_ms / 1000)},
        )

    def _servers(self) -> dict[str, float | dict[str, float]]:
        """What Redis says of itself: of several primaries, the worst."""
        conditions = self.link.conditions
        if not conditions:
            return {}
        fullest = max(conditions, key=lambda condition: condition.used_share)
        settings = [self.promises.settings(condition) for condition in conditions]
        return {
            "homeport_store_memory_used_bytes": fullest.used_bytes,
            "homeport_store_memory_limit_bytes": fullest.limit_bytes,
            "homeport_store_setting": {
                name: max(each[name] for each in settings) for name in settings[0]
            },
            "homeport_store_persistence_failing": {
                "aof": int(False in [condition.log_written for condition in conditions]),
                "rdb": int(False in [condition.saved for condition in conditions]),
            },
        }
