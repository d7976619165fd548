"""Writes dashboard.json, the Grafana dashboard: ``python deploy/grafana/generate.py``.

What is on it is the table ROWS; the rest is the form that Grafana wants it in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
RATE: Final = "[$__rate_interval]"


def total(metric: str, by: str = "") -> str:
    """What a gauge says of all gateways together."""
    return f'sum{f" by ({by})" if by else ""} ({metric}{{job="homeport", instance=~"$instance"}})'


def worst(metric: str, by: str = "instance") -> str:
    """What a gauge says of the gateway where it is highest."""
    return f'max by ({by}) ({metric}{{job="homeport", instance=~"$instance"}})'


def rate(metric: str, by: str = "") -> str:
    """How much a counter grows a second, over all gateways."""
    inner = f'rate({metric}{{job="homeport", instance=~"$instance"}}{RATE})'
    return f"sum{f' by ({by})' if by else ''} ({inner})"


def quantile(q: float, metric: str, by: str = "le") -> str:
    """A quantile of a histogram, over all gateways or by one more label."""
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', by)})"


def spread(metric: str) -> list[tuple[str, str]]:
    """A histogram as three lines."""
    return [(f"p{int(q * 100)}", quantile(q, metric)) for q in (0.5, 0.95, 0.99)]


# (title, unit, [(legend, query)]); units are Grafana's names.
Panel = tuple[str, str, list[tuple[str, str]]]

ROWS: Final[list[tuple[str, list[Panel]]]] = [
    (
        "Is it there",
        [
            (
                "Gateways ready",
                "short",
                [
                    ("ready", total("homeport_runtime_ready")),
                    ("with the wrong Redis", total("homeport_store_wrong_redis")),
                ],
            ),
            ("Workers", "short", [("{{instance}}", total("homeport_runtime_workers", "instance"))]),
            (
                "Worker restarts",
                "short",
                [
                    (
                        "{{instance}}",
                        "sum by (instance) (increase(homeport_runtime_worker_restarts_total"
                        '{job="homeport", instance=~"$instance"}[$__range]))',
                    )
                ],
            ),
            (
                "Drain: sessions",
                "short",
                [
                    (
                        "{{instance}} at its beginning",
                        total("homeport_runtime_drain_sessions", "instance"),
                    ),
                    (
                        "{{instance}} left",
                        total("homeport_runtime_drain_left_sessions", "instance"),
                    ),
                ],
            ),
        ],
    ),
    (
        "Who is here",
        [
            (
                "Connections",
                "short",
                [("{{instance}}", total("homeport_net_connections", "instance"))],
            ),
            (
                "Sessions by tier",
                "short",
                [("{{tier}}", total("homeport_session_sessions", "tier"))],
            ),
            (
                "Closes by code",
                "ops",
                [("{{code}}", rate("homeport_session_closes_total", "code"))],
            ),
            (
                "Kept out",
                "ops",
                [
                    (
                        "connection: {{reason}}",
                        rate("homeport_net_refused_connections_total", "reason"),
                    ),
                    ("token: {{reason}}", rate("homeport_session_token_refusals_total", "reason")),
                ],
            ),
        ],
    ),
    (
        "Messages",
        [
            (
                "Messages",
                "ops",
                [
                    ("accepted", rate("homeport_chat_messages_accepted_total")),
                    ("delivered", rate("homeport_session_messages_delivered_total")),
                    ("acknowledged", rate("homeport_session_messages_acked_total")),
                ],
            ),
            ("Send to push", "s", spread("homeport_chat_send_to_push_seconds")),
            (
                "Frames by type",
                "ops",
                [("{{type}}", rate("homeport_session_frames_total", "type"))],
            ),
            (
                "Not at the first try",
                "ops",
                [
                    ("read from the inbox", rate("homeport_session_catchup_reads_total")),
                    ("gaps found", rate("homeport_session_gaps_found_total")),
                    ("gaps healed", rate("homeport_session_gaps_healed_total")),
                    ("delivered again", rate("homeport_session_redeliveries_total")),
                    ("slow consumers", rate("homeport_session_slow_consumers_total")),
                    ("numbering begun anew", rate("homeport_session_epoch_changes_total")),
                ],
            ),
        ],
    ),
    (
        "Redis",
        [
            ("Round trip", "s", spread("homeport_store_link_roundtrip_seconds")),
            (
                "Commands that wait",
                "short",
                [("{{instance}}", worst("homeport_store_link_queue_commands"))],
            ),
            (
                "Pub/sub reconnects",
                "short",
                [
                    (
                        "{{instance}}",
                        "sum by (instance) (increase(homeport_store_pubsub_reconnects_total"
                        '{job="homeport", instance=~"$instance"}[$__rate_interval]))',
                    )
                ],
            ),
            (
                "Dropped from full inboxes; keys gone",
                "ops",
                [
                    ("dropped", rate("homeport_store_inbox_evictions_total")),
                    ("keys gone", rate("homeport_store_lost_keys_total")),
                ],
            ),
        ],
    ),
    (
        "Does Redis take what is sent",
        [
            (
                "Why probes are lost",
                "short",
                [("{{fault}}", worst("homeport_runtime_probe_failing", "fault"))],
            ),
            (
                "Refused by code",
                "ops",
                [("{{code}}", rate("homeport_session_errors_total", "code"))],
            ),
            (
                "Memory",
                "bytes",
                [
                    ("used", worst("homeport_store_memory_used_bytes")),
                    ("maxmemory", worst("homeport_store_memory_limit_bytes")),
                ],
            ),
            (
                "Settings (2: not as promised), disk (1: failing), fullest apps (1: full)",
                "short",
                [
                    ("{{setting}}", worst("homeport_store_setting", "setting")),
                    ("{{file}}", worst("homeport_store_persistence_failing", "file")),
                    ("apps of {{instance}}", worst("homeport_store_fullest_apps")),
                ],
            ),
        ],
    ),
    (
        "Machine and time",
        [
            (
                "Loop lag, p99",
                "s",
                [
                    (
                        "{{instance}}",
                        quantile(0.99, "homeport_runtime_loop_lag_seconds", "instance, le"),
                    )
                ],
            ),
            (
                "Sweeper lag, clocks off",
                "s",
                [
                    ("lag of {{instance}}", worst("homeport_store_sweeper_lag_seconds")),
                    ("clock of {{instance}}", worst("homeport_runtime_clock_off_seconds")),
                ],
            ),
            (
                "Certificate ends in",
                "s",
                [
                    (
                        "{{instance}}",
                        "min by (instance) (homeport_net_certificate_expiry_timestamp_seconds"
                        '{job="homeport", instance=~"$instance"}) - time()',
                    )
                ],
            ),
            ("Age of the key", "s", [("{{instance}}", worst("homeport_security_key_age_seconds"))]),
        ],
    ),
    (
        "Waits for somebody",
        [
            (
                "Files that were refused",
                "short",
                [("{{instance}}", worst("homeport_runtime_reload_refused"))],
            ),
            (
                "Not the region's",
                "short",
                [
                    ("{{instance}}: keys", worst("homeport_security_keys_apart")),
                    ("{{instance}}: Redis", worst("homeport_store_wrong_redis")),
                ],
            ),
            (
                "Open files a process may have",
                "short",
                [("{{instance}}", worst("homeport_runtime_open_files_limit"))],
            ),
        ],
    ),
    (
        "What it is, and takes",
        [
            (
                "Versions",
                "short",
                [("{{version}}", total("homeport_build_info", "version"))],
            ),
            (
                "Processors in use",
                "short",
                [("{{instance}}", rate("homeport_runtime_cpu_seconds_total", "instance"))],
            ),
            (
                "Memory of workers",
                "bytes",
                [("{{instance}}", total("homeport_runtime_resident_memory_bytes", "instance"))],
            ),
            (
                "Open files",
                "short",
                [("{{instance}}", total("homeport_runtime_open_files", "instance"))],
            ),
        ],
    ),
    (
        "Back ends",
        [
            (
                "Answers of the API, by status",
                "reqps",
                [("{{status}}", rate("homeport_api_answers_total", "status"))],
            ),
            ("Requests to the API", "s", spread("homeport_api_request_seconds")),
            (
                "Connections to the API",
                "short",
                [("{{instance}}", total("homeport_api_connections", "instance"))],
            ),
        ],
    ),
]

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 4
WIDTH: Final = 24 // COLUMNS
HEIGHT: Final = 7


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    panels: list[dict[str, Any]] = []
    for number, (title, row) in enumerate(ROWS):
        top = number * (HEIGHT + 1)
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
                "panels": [],
            }
        )
        for column, panel in enumerate(row):
            place = {"x": column * WIDTH, "y": top + 1, "w": WIDTH, "h": HEIGHT}
            panels.append(_panel(len(panels) + 1, panel, place))
    return {
        "uid": "homeport",
        "title": "Homeport",
        "tags": ["homeport"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,  # one cross-hair through all panels
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "instance",
                    "type": "query",
                    "datasource": DATASOURCE,
                    "query": 'label_values(up{job="homeport"}, instance)',
                    "refresh": 2,  # when the time range changes
                    "includeAll": True,
                    "allValue": ".*",
                    "multi": True,
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": panels,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    title, unit, queries = panel
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(queries)
        ],
    }


def text() -> str:
    """What is in dashboard.json."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    (HERE / "dashboard.json").write_text(text())
