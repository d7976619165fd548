"""What Helm makes of the chart, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Settings, load_settings
from tests.deploy.dockerfile import stages
from tests.deploy.tools import DEPLOY

Render = Callable[..., dict[tuple[str, str], Any]]

REDIS_URL = "rediss://gateway:PASSWORD@redis.example:6379"
PEERS = [{"ipBlock": {"cidr": "10.0.8.0/24"}}]
NEEDED: dict[str, Any] = {"region": "sg", "networkPolicy": {"redisPeers": PEERS}}
"""What must be given."""


def pod(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """The pod that the deployment makes."""
    [template] = [
        found["spec"]["template"] for (kind, _), found in objects.items() if kind == "Deployment"
    ]
    assert isinstance(template, dict)
    return template


def configuration(
    objects: dict[tuple[str, str], Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """What a gateway makes of the rendered file and variables."""
    [config] = [found for (kind, _), found in objects.items() if kind == "ConfigMap"]
    file = folder / "gateway.toml"
    file.write_text(config["data"]["gateway.toml"])
    _, image = stages(DEPLOY / "Dockerfile")
    monkeypatch.setenv("HOMEPORT_OPS_LISTEN", image.environment()["HOMEPORT_OPS_LISTEN"])
    monkeypatch.setenv("HOMEPORT_REDIS_URL", REDIS_URL)
    return load_settings(file, {})


SET_BY_THE_CHART = {
    "region",
    "redis_url",
    "key_file",
    "wss_listen",
    "tls_cert",
    "tls_key",
    "ops_listen",
    "workers",
    "drain_s",
}
"""Settings that have their place elsewhere among the values."""
