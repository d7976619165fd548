"""The Helm chart: what Helm makes of it, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Settings, load_settings
from gateway.runtime.reload import LIVE, RESTART
from gateway.security.keyring import Keyring
from tests.deploy import helm
from tests.deploy.dockerfile import stages
from tests.deploy.tools import DEPLOY, ROOT
from tests.harness import ANSWER_S

Render = Callable[..., dict[tuple[str, str], Any]]

REDIS_URL = "rediss://gateway@redis.example:6379"


@pytest.fixture(scope="session", name="python")
def _python() -> Path:
    try:
        return helm.python(ROOT / ".cache")
    except RuntimeError as error:
        pytest.skip(f"helm-python-sdk {helm.VERSION} can't be installed: {error}")


@pytest.fixture(name="render")
def _render(python: Path) -> Render:
    """Renders the chart for sg with some values: objects by (kind, name)."""

    def render(name: str = "homeport-sg", **values: Any) -> dict[tuple[str, str], Any]:
        asked = {"do": "render", "name": name, "values": {"region": "sg", **values}}
        [answer] = helm.call(python, [asked])
        assert "refused" not in answer, answer
        objects = [found for text in answer.values() for found in yaml.safe_load_all(text) if found]
        return {(found["kind"], found["metadata"]["name"]): found for found in objects}

    return render


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


def test_helm_has_nothing_to_say_against_the_chart(python: Path) -> None:
    """`helm lint --strict`, with the defaults and with everything switched the other way."""
    other = {
        "region": "eu",
        "autoscaling": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "serviceMonitor": {"enabled": True},
        "service": {"type": "ClusterIP"},
    }
    calls = [{"do": "lint", "values": values} for values in ({"region": "sg"}, other)]
    assert helm.call(python, calls) == [[], []]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"region": ""},
        {"region": "mars"},
        {"region": ["sg", "eu"]},
        {"region": "sg,eu"},
        {"region": "sg", "regions": ["eu"]},
        {"region": "sg", "config": {"region": "eu"}},
        {"region": "sg", "config": {"drain_s": 600}},
        {"region": "sg", "config": {"directory": {"mars": "wss://mars.example/v1"}}},
        {"region": "sg", "config": {"durability": "maybe"}},
        {"region": "sg", "config": {"origins": ["https://*.example"]}},
        {"region": "sg", "workers": 0},
        {"region": "sg", "drainSeconds": "30s"},
        {"region": "sg", "autoscaling": {"min": 1}},
        {"region": "sg", "replicaCount": 5},
    ],
    ids=json.dumps,
)
def test_values_that_make_no_region_are_refused(python: Path, values: dict[str, Any]) -> None:
    """G6: one release is one region; and a typo does not fall back to a default in silence."""
    [answer] = helm.call(python, [{"do": "render", "name": "homeport", "values": values}])
    assert list(answer) == ["refused"]


def test_the_region_is_in_what_pods_are_selected_by(render: Render) -> None:
    """G6: a Deployment's selector can't be changed, so no release moves to another region; and no
    Service, budget or policy of one region takes the pods of another for its own."""
    objects = render()
    deployment = objects["Deployment", "homeport-sg"]
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector["homeport/region"] == "sg"
    others = [
        objects["Service", "homeport-sg"]["spec"]["selector"],
        objects["Service", "homeport-sg-ops"]["spec"]["selector"],
        objects["PodDisruptionBudget", "homeport-sg"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy", "homeport-sg"]["spec"]["podSelector"]["matchLabels"],
        *(
            spread["labelSelector"]["matchLabels"]
            for spread in pod(objects)["spec"]["topologySpreadConstraints"]
        ),
    ]
    assert all(other == selector for other in others)
    assert selector.items() <= pod(objects)["metadata"]["labels"].items()


def test_a_gateway_takes_the_rendered_configuration(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting is one; ports, paths and the drain agree with the rest of the pod."""
    directory = {"eu": "wss://eu.chat.example/v1"}
    origins = ["https://chat.example"]
    objects = render(
        drainSeconds=90, workers=4, config={"directory": directory, "origins": origins}
    )
    found = configuration(objects, tmp_path, monkeypatch)
    assert (found.region, found.drain_s, found.workers) == ("sg", 90, 4)
    assert (found.directory, found.origins) == (directory, origins)
    spec = pod(objects)["spec"]
    [gateway] = spec["containers"]
    ports = {port["name"]: port["containerPort"] for port in gateway["ports"]}
    assert found.wss_listen == f"0.0.0.0:{ports['wss']}"
    assert found.ops_listen == f"0.0.0.0:{ports['ops']}"
    mounted = [Path(mount["mountPath"]) for mount in gateway["volumeMounts"]]
    for path in (found.key_file, found.tls_cert, found.tls_key):
        assert path is not None and path.parent in mounted
    _, image = stages(DEPLOY / "Dockerfile")
    assert Path(image.command("CMD")[-1]).parent in mounted


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
    fixed = {"region", "redis_url", "key_file", "wss_listen", "tls_cert", "tls_key", "ops_listen"}
    live = sorted(LIVE.keys() - fixed)
    restart = sorted(RESTART - fixed - {"workers", "drain_s", "durability", "replicas"})
    changes: list[dict[str, Any]] = [
        {},
        *({"config": {name: _other(name)}} for name in (*live, *restart)),
        {"config": {"durability": "memory"}},
        {"config": {"replicas": 2}},
        {"workers": 3},
        {"drainSeconds": 31},
    ]
    calls = [
        {"do": "render", "name": "homeport-sg", "values": {"region": "sg", **change}}
        for change in changes
    ]
    before, *after = map(_restart_for, helm.call(python, calls))
    taken_up = [name for name, now in zip(live, after, strict=False) if now == before]
    assert taken_up == live
    assert before not in after[len(live) :]


def _other(name: str) -> Any:
    """A value that the schema lets pass; what it means to the gateway is of no matter here."""
    return {
        "origins": ["https://a.example"],
        "directory": {"eu": "wss://eu.example/v1"},
        "log_level": "debug",
    }.get(name, 12345)


def _restart_for(manifests: dict[str, str]) -> str:
    deployment = yaml.safe_load(manifests["homeport/templates/deployment.yaml"])
    annotation = deployment["spec"]["template"]["metadata"]["annotations"]["homeport/restart-for"]
    assert isinstance(annotation, str)
    return annotation


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


def test_prometheus_finds_the_ops_ports_as_the_alerts_expect(render: Render) -> None:
    """The ServiceMonitor selects the ops Service only, and gives the job the alerts' name."""
    objects = render(serviceMonitor={"enabled": True})
    monitor = objects["ServiceMonitor", "homeport-sg"]["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    ops, wss = objects["Service", "homeport-sg-ops"], objects["Service", "homeport-sg"]
    assert wanted <= ops["metadata"]["labels"].items()
    assert not wanted <= wss["metadata"]["labels"].items()
    [endpoint] = monitor["endpoints"]
    assert endpoint["port"] in [port["name"] for port in ops["spec"]["ports"]]
    assert {"targetLabel": "job", "replacement": "homeport"} in endpoint["relabelings"]


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
