"""The Helm chart: the pods, how they are probed, started anew and scaled."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Settings
from gateway.runtime.reload import LIVE, RESTART
from gateway.security.keyring import Keyring
from tests.deploy import helm
from tests.deploy.charting import NEEDED, SET_BY_THE_CHART, Render, configuration, pod
from tests.deploy.dockerfile import stages
from tests.deploy.tools import DEPLOY
from tests.harness import ANSWER_S


@pytest.mark.parametrize("drain_s", [30, 600])
def test_kubernetes_waits_longer_than_the_drain(render: Render, drain_s: int) -> None:
    """G10: the kubelet kills what has not ended by then, the time of preStop included."""
    spec = pod(render(drainSeconds=drain_s))["spec"]
    [gateway] = spec["containers"]
    sleep, before = gateway["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    assert spec["terminationGracePeriodSeconds"] >= drain_s + int(before) + 10


def test_the_probes_ask_the_three_endpoints(render: Render) -> None:
    """Restarts by /livez, traffic by /readyz, and neither before /startupz."""
    [gateway] = pod(render())["spec"]["containers"]
    probes = {
        name: gateway[name]["httpGet"]
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert probes == {
        "startupProbe": {"path": "/startupz", "port": "ops"},
        "livenessProbe": {"path": "/livez", "port": "ops"},
        "readinessProbe": {"path": "/readyz", "port": "ops"},
    }


def test_a_pod_that_waits_for_redis_is_not_killed_for_it(render: Render) -> None:
    """G10: /startupz says no while Redis is away, for as long as an outage may take."""
    [gateway] = pod(render())["spec"]["containers"]
    probe = gateway["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 3600
    assert probe["periodSeconds"] <= 5  # one that is up is not kept waiting


def test_the_runbooks_proxy_protocol_is_what_a_gateway_takes(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """values.yaml sends there who has a balancer that speaks it."""
    runbook = (DEPLOY / "RUNBOOK.md").read_text()
    _, _, section = runbook.partition("\n### PROXY protocol\n")
    [[switch, networks]] = re.findall(
        r"--set config\.wss_proxy_protocol=(\w+) --set 'config\.trusted_proxies=\{(.*?)\}'",
        section.partition("\n#")[0],
    )
    asked = {"wss_proxy_protocol": json.loads(switch), "trusted_proxies": networks.split(",")}
    found = configuration(render(config=asked), tmp_path, monkeypatch)
    assert found.wss_proxy_protocol
    assert found.trusted_proxies == networks.split(",")


def test_the_pod_is_kept_from_everything_it_does_not_need(render: Render) -> None:
    """As in the Dockerfile: its user, no root file system to write to; and no injected variables:
    a Service named homeport would come as HOMEPORT_PORT."""
    spec = pod(render())["spec"]
    assert spec["enableServiceLinks"] is False
    assert spec["automountServiceAccountToken"] is False
    _, image = stages(DEPLOY / "Dockerfile")
    user, _, group = image.arguments("USER")[-1].partition(":")
    context = spec["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
    for container in [*spec["initContainers"], *spec["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }
    writable = {
        mount["mountPath"]
        for mount in spec["containers"][0]["volumeMounts"]
        if not mount.get("readOnly")
    }
    assert writable == {"/tmp", "/dev/shm"}


def test_what_running_pods_take_up_does_not_restart_them(python: Path) -> None:
    """New origins, a limit, a log level: the file changes, no pod does. Everything else rolls them:
    a setting that waits for a restart gets it."""
    live = sorted(LIVE.keys() - SET_BY_THE_CHART)
    restart = sorted(RESTART - SET_BY_THE_CHART)
    changes: list[dict[str, Any]] = [
        {},
        *({"config": {name: _other(name)}} for name in (*live, *restart)),
        {"workers": 3},
        {"drainSeconds": 31},
    ]
    calls = [
        {"do": "render", "name": "homeport-sg", "values": NEEDED | change} for change in changes
    ]
    before, *after = map(_restart_for, helm.call(python, calls))
    taken_up = [name for name, now in zip(live, after, strict=False) if now == before]
    assert taken_up == live
    assert before not in after[len(live) :]


def _other(name: str) -> Any:
    """A value that the schema lets pass, and that the chart does not set itself."""
    texts = {
        "origins": ["https://a.example"],
        "trusted_proxies": ["10.0.0.0/8"],
        "directory": {"eu": "wss://eu.example/v1"},
        "plain_listen": "127.0.0.1:8080",
        "webhook_networks": ["127.0.0.0/8"],
        "api_listen": "127.0.0.1:8081",
        "api_workers": 2,
        "api_directory": {"eu": "https://api.eu.example"},
    }
    [rules] = [
        kind
        for kind in [Settings.model_json_schema()["properties"][name]]
        for kind in kind.get("anyOf", [kind])
        if kind["type"] != "null"
    ]
    if "enum" in rules:
        return rules["enum"][0]
    numbers = {"integer": 2_000_000, "number": 7, "boolean": True}
    return texts[name] if name in texts else numbers[rules["type"]]


def _restart_for(manifests: dict[str, str]) -> str:
    deployment = yaml.safe_load(manifests["homeport/templates/deployment.yaml"])
    annotation = deployment["spec"]["template"]["metadata"]["annotations"]["homeport/restart-for"]
    assert isinstance(annotation, str)
    return annotation


def test_a_pod_gets_what_its_cluster_wants_of_it(render: Render) -> None:
    """A file of a CA for Redis, variables, labels, an account, where it runs: each where Kubernetes
    looks for it, beside the chart's own, and the keyring's sidecar sees none of them."""
    volume = {"name": "redis-ca", "secret": {"secretName": "redis-ca"}}
    mount = {"name": "redis-ca", "mountPath": "/run/homeport/redis-ca", "readOnly": True}
    variable = {"name": "SSL_CERT_FILE", "value": "/run/homeport/redis-ca/ca.crt"}
    affinity: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}
    }
    toleration = {"key": "chat", "operator": "Exists"}
    spread = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    plain = pod(render())
    template = pod(
        render(
            extraVolumes=[volume],
            extraVolumeMounts=[mount],
            extraEnv=[variable],
            podLabels={"team": "chat"},
            podAnnotations={"example.com/scrape": "true"},
            serviceAccount={"name": "chat"},
            priorityClassName="high",
            affinity=affinity,
            tolerations=[toleration],
            topologySpreadConstraints=[spread],
        )
    )
    spec, before = template["spec"], plain["spec"]
    assert spec["volumes"] == [*before["volumes"], volume]
    [gateway], [gateway_before] = spec["containers"], before["containers"]
    assert gateway["volumeMounts"] == [*gateway_before["volumeMounts"], mount]
    assert gateway["env"] == [*gateway_before["env"], variable]
    assert spec["initContainers"] == before["initContainers"]
    assert template["metadata"]["labels"] == plain["metadata"]["labels"] | {"team": "chat"}
    assert template["metadata"]["annotations"]["example.com/scrape"] == "true"
    assert (spec["serviceAccountName"], spec["priorityClassName"]) == ("chat", "high")
    assert spec["automountServiceAccountToken"] is False
    assert (spec["affinity"], spec["tolerations"]) == (affinity, [toleration])
    assert spec["topologySpreadConstraints"] == [spread]
    assert {"serviceAccountName", "priorityClassName", "affinity"}.isdisjoint(before)


def test_autoscaling_counts_sessions_and_cpu(render: Render) -> None:
    """Both are in the HPA, replicas are not in the deployment; a pod leaves at a time."""
    objects = render()
    assert "replicas" not in objects["Deployment", "homeport-sg"]["spec"]
    scaler = objects["HorizontalPodAutoscaler", "homeport-sg"]["spec"]
    names = [
        metric["resource"]["name"]
        if metric["type"] == "Resource"
        else metric["pods"]["metric"]["name"]
        for metric in scaler["metrics"]
    ]
    assert names == ["cpu", "homeport_session_sessions"]
    assert scaler["behavior"]["scaleDown"]["policies"][0]["value"] == 1
    assert objects["PodDisruptionBudget", "homeport-sg"]["spec"]["maxUnavailable"] == 1
    fixed = render(autoscaling={"enabled": False}, replicas=5)
    assert fixed["Deployment", "homeport-sg"]["spec"]["replicas"] == 5
    assert ("HorizontalPodAutoscaler", "homeport-sg") not in fixed


def test_the_sidecar_makes_a_keyring_that_the_gateway_takes(render: Render, tmp_path: Path) -> None:
    """A Secret's file is group-readable and of root, and a gateway refuses such a keyring. The
    sidecar's copy is its own, mode 0400; a rotated key arrives; SIGTERM ends it at once."""
    [sidecar] = pod(render())["spec"]["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    mounts = {mount["mountPath"]: mount["name"] for mount in sidecar["volumeMounts"]}
    secret, copies = tmp_path / "secret", tmp_path / "keyring"
    for place, folder in (("/run/homeport/secret", secret), ("/run/homeport/keyring", copies)):
        assert place in mounts
        folder.mkdir()
    file = secret / "keyring.json"
    Keyring.create(file, "sg")
    file.chmod(0o440)
    [script] = sidecar["args"]
    script = script.replace("/run/homeport", str(tmp_path)).replace("sleep 5", "sleep 0.05")
    copy = copies / "keyring.json"

    def until_active(version: int) -> None:
        deadline = time.monotonic() + ANSWER_S
        while not copy.exists() or Keyring.load(copy, "sg").keys.keys() != set(
            range(1, version + 1)
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    with subprocess.Popen([*sidecar["command"], script]) as process:
        try:
            until_active(1)
            assert stat.S_IMODE(os.stat(copy).st_mode) == 0o400
            Keyring.rotate(_writable(file))
            until_active(2)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(ANSWER_S) == 0


def _writable(file: Path) -> Path:
    """The keyring as its keeper has it."""
    file.chmod(0o600)
    return file
