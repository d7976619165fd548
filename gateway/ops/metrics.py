"""Every metric that Homeport exports, once: its name, its type, its labels and what it means.

A label has few values, all of them Homeport's own words. No user, room, app, token or address is
ever one. `deploy/METRICS.md` is made from this table (``python -m gateway.ops.metrics``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gateway.tally import BOUNDS_S

FINE_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of a histogram's buckets, in seconds, for what takes about a millisecond."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    `over` says what is made of the values of several workers: counters and histograms are summed,
    those of workers that have ended included; a gauge is that of the workers that live. The ops
    process tells its `own` by itself.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    meaning: str
    label: str = ""
    over: Literal["sum", "max", "min", "own"] = "sum"
    bounds_s: tuple[float, ...] = ()


_ALL: Final = (
    Metric("homeport_net_connections", "gauge", "Open connections, authenticated or not."),
    Metric(
        "homeport_net_refused_connections_total",
        "counter",
        "Connections that were refused before there was a session, by reason.",
        label="reason",
    ),
    Metric(
        "homeport_net_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the listener's certificate ends, in seconds since 1970. None without one.",
        over="min",
    ),
    Metric(
        "homeport_session_sessions",
        "gauge",
        "Live sessions, by the tier that their app had as they connected.",
        label="tier",
    ),
    Metric(
        "homeport_session_frames_total",
        "counter",
        "Frames that clients sent, by type.",
        label="type",
    ),
    Metric(
        "homeport_chat_messages_accepted_total",
        "counter",
        "Sends that were answered ok: direct, group and room messages. A repetition counts again.",
    ),
    Metric(
        "homeport_session_messages_delivered_total",
        "counter",
        "Messages of inboxes that were pushed, once for each device. Room messages are not in it.",
    ),
    Metric(
        "homeport_session_messages_acked_total",
        "counter",
        "Pushes that devices acknowledged, notices of loss among them.",
    ),
    Metric(
        "homeport_session_catchup_reads_total",
        "counter",
        "Pages read from inboxes by sessions that fell behind or missed something.",
    ),
    Metric(
        "homeport_session_gaps_found_total",
        "counter",
        "Times a session found that pub/sub had not delivered a message.",
    ),
    Metric(
        "homeport_session_gaps_healed_total",
        "counter",
        "How many of those gaps were filled from the inbox, reported as lost, or left to "
        "the device's next session, because this one ended.",
    ),
    Metric(
        "homeport_session_redeliveries_total",
        "counter",
        "Messages pushed that had been stored while an earlier session of the device was there, "
        "and were not acknowledged.",
    ),
    Metric(
        "homeport_session_slow_consumers_total",
        "counter",
        "Times a client did not read as fast as the gateway sent.",
    ),
    Metric(
        "homeport_session_epoch_changes_total",
        "counter",
        "Devices that came back to an inbox whose numbering had begun again: Redis is older than "
        "it was, or forgot an inbox that was not used for too long.",
    ),
    Metric(
        "homeport_session_closes_total",
        "counter",
        "Sessions that the gateway ended, by the name of the close code (SPEC.md section 8).",
        label="code",
    ),
    Metric(
        "homeport_session_errors_total",
        "counter",
        "Requests that were refused, by the name of the error code (SPEC.md section 8).",
        label="code",
    ),
    Metric(
        "homeport_session_token_refusals_total",
        "counter",
        "Connects and renewals refused for their token, by the name of the error code.",
        label="reason",
    ),
    Metric(
        "homeport_chat_send_to_push_seconds",
        "histogram",
        "From when the sender's gateway took a message to when the recipient's gateway framed its "
        "push, once for each inbox that somebody listens to. In whole milliseconds of the region's "
        "time, Redis'. Neither what waits in an inbox nor the way to the client is in it.",
        bounds_s=BOUNDS_S,
    ),
    Metric("homeport_api_connections", "gauge", "Open connections of back ends to the REST API."),
    Metric(
        "homeport_api_answers_total",
        "counter",
        "Answers of the REST API, by their status.",
        label="status",
    ),
    Metric(
        "homeport_api_request_seconds",
        "histogram",
        "From the head of a request to the REST API to the end of its answer.",
        bounds_s=BOUNDS_S,
    ),
    Metric(
        "homeport_store_inbox_evictions_total",
        "counter",
        "Messages that made room because an inbox held its tier's cap, counted by the sender's "
        "gateway.",
    ),
    Metric(
        "homeport_store_lost_keys_total",
        "counter",
        "Times a key of an inbox or of a conversation was found gone, or what only such a key led "
        "to: Redis evicts, or lost it.",
    ),
    Metric(
        "homeport_store_fullest_apps",
        "gauge",
        "What part of the bytes that their tiers allow the fullest tenth of the apps has stored, "
        "on average, of those that are connected here. `homeport app usage` names them.",
        over="max",
    ),
    Metric(
        "homeport_store_sweeper_lag_seconds",
        "gauge",
        "How late the sweeping of expired data is. Up to 10 s is usual.",
        over="max",
    ),
    Metric(
        "homeport_store_link_roundtrip_seconds",
        "histogram",
        "From asking for a command to its answer, of the probe's write, twice a second to each "
        "primary. With durability replica the replicas' answers are in it.",
        bounds_s=FINE_S,
    ),
    Metric(
        "homeport_store_link_queue_commands",
        "gauge",
        "Commands that wait for Redis' answer.",
    ),
    Metric(
        "homeport_store_wrong_redis",
        "gauge",
        "1 while a worker does not use the Redis it finds, because that is empty, or has another "
        "region's stamp or another key file's.",
        over="max",
    ),
    Metric(
        "homeport_store_memory_used_bytes",
        "gauge",
        "What Redis uses of its memory: of several primaries, the one that is fullest.",
        over="max",
    ),
    Metric(
        "homeport_store_memory_limit_bytes",
        "gauge",
        "The maxmemory of that server; 0 if it has none.",
        over="max",
    ),
    Metric(
        "homeport_store_setting",
        "gauge",
        "Whether a setting of Redis keeps what this gateway promises: 0 yes, 1 unknown, because "
        "Redis does not let the gateway look, 2 no. Of several primaries, the worst.",
        label="setting",
        over="max",
    ),
    Metric(
        "homeport_store_persistence_failing",
        "gauge",
        "1 if Redis' last write of its append-only file (aof), or its last snapshot (rdb), failed.",
        label="file",
        over="max",
    ),
    Metric(
        "homeport_store_pubsub_reconnects_total",
        "counter",
        "Times the pub/sub connection was lost and came back, in each worker. 0 with a Redis "
        "Cluster, where slots that move look the same; the log has them as redis_channels_missed.",
    ),
    Metric(
        "homeport_security_key_age_seconds",
        "gauge",
        "For how long the active version of the region's key has been in use.",
        over="max",
    ),
    Metric(
        "homeport_security_keys_apart",
        "gauge",
        "Versions of the region's key of which this gateway's file has another key than the "
        "others'. It does not seal with them.",
        over="max",
    ),
    Metric(
        "homeport_runtime_reload_refused",
        "gauge",
        "1 while the configuration or a file that it names can't be taken up, and the gateway goes "
        "on with what it had; else 0.",
        over="max",
    ),
    Metric(
        "homeport_runtime_loop_lag_seconds",
        "histogram",
        "By how much the event loop was late for a timer, four times a second and worker.",
        bounds_s=FINE_S,
    ),
    Metric(
        "homeport_runtime_clock_off_seconds",
        "gauge",
        "How far a clock is from the region's time: this machine's (gateway), or that of a Redis "
        "server (redis). Past 5 s this gateway deletes nothing that is past its time.",
        label="clock",
        over="max",
    ),
    Metric(
        "homeport_runtime_cpu_seconds_total",
        "counter",
        "Seconds of a processor that workers have used.",
    ),
    Metric(
        "homeport_runtime_resident_memory_bytes",
        "gauge",
        "Memory that is held for workers. What they share is counted for each.",
    ),
    Metric(
        "homeport_runtime_open_files",
        "gauge",
        "Descriptors that workers have open. Linux 6.2 or newer says how many.",
    ),
    Metric(
        "homeport_build_info",
        "gauge",
        "Always 1; its label is the version of the gateway.",
        label="version",
        over="own",
    ),
    Metric("homeport_runtime_workers", "gauge", "Workers that are running.", over="own"),
    Metric(
        "homeport_runtime_worker_restarts_total",
        "counter",
        "Workers that took the place of one that had ended, since the ops process started.",
        over="own",
    ),
    Metric(
        "homeport_runtime_open_files_limit",
        "gauge",
        "How many files each process of the gateway may have open; a connection is one.",
        over="own",
    ),
    Metric(
        "homeport_runtime_probe_failing",
        "gauge",
        "1 while probes are lost for this reason: `/readyz` names it.",
        label="fault",
        over="max",
    ),
    Metric("homeport_runtime_ready", "gauge", "1 while /readyz says yes, else 0.", over="own"),
    Metric(
        "homeport_runtime_drain_sessions",
        "gauge",
        "Sessions that were open when the drain began; 0 while there is none.",
        over="own",
    ),
    Metric(
        "homeport_runtime_drain_left_sessions",
        "gauge",
        "Sessions of the drain that are still open.",
        over="own",
    ),
)

METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _ALL}


def table() -> str:
    """The rows of `deploy/METRICS.md`."""
    rows = ["| name | type | label | workers | meaning |", "|---|---|---|---|---|"]
    for metric in METRICS.values():
        over = "" if metric.over == "own" else metric.over
        label = f"`{metric.label}`" if metric.label else ""
        rows.append(f"| `{metric.name}` | {metric.type} | {label} | {over} | {metric.meaning} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201
