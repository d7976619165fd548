"""The Helm chart: what Helm makes of it, and what it refuses."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
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

REDIS_URL = "rediss://gateway:PASSWORD@redis.example:6379"
PEERS = [{"ipBlock": {"cidr": "10.0.8.0/24"}}]
NEEDED: dict[str, Any] = {"region": "sg", "networkPolicy": {"redisPeers": PEERS}}
"""What must be given."""


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
        asked = {"do": "render", "name": name, "values": NEEDED | values}
        [answer] = helm.call(python, [asked])
        assert "refused" not in answer, answer
        objects = [
            found
            for template, text in answer.items()
            if template.endswith(".yaml")
            for found in yaml.safe_load_all(text)
            if found
        ]
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


def test_the_schema_knows_each_setting(python: Path) -> None:
    """A typo in `config`, or a value that no gateway takes, is told by `helm install`, and not by a
    pod that does not start. What a setting may be is written once more in the schema: by this test
    it is what the gateway says."""
    schema = json.loads((helm.CHART / "values.schema.json").read_text())
    described = schema["properties"]["config"]
    assert described["additionalProperties"] is False
    settings = {
        name: rules
        for name, rules in Settings.model_json_schema()["properties"].items()
        if name not in SET_BY_THE_CHART
    }
    assert described["properties"].keys() == settings.keys()
    for name, rules in settings.items():
        [rules] = [kind for kind in rules.get("anyOf", [rules]) if kind["type"] != "null"]
        for rule in ("type", "enum", "minimum", "exclusiveMinimum", "maximum"):
            assert described["properties"][name].get(rule) == rules.get(rule), (name, rule)


def test_numbers_come_as_they_are(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Helm has read `workers: 2` as 2.0, and 268435456 as 2.68435456e+08: the gateway's file has
    whole numbers, and a fraction where there is one."""
    objects = render(workers=2, config={"max_outbox_bytes": 268435456, "heartbeat_s": 12.5})
    lines = objects["ConfigMap", "homeport-sg"]["data"]["gateway.toml"].splitlines()
    assert {"workers = 2", "max_outbox_bytes = 268435456", "heartbeat_s = 12.5"} <= set(lines)
    found = configuration(objects, tmp_path, monkeypatch)
    assert (found.workers, found.max_outbox_bytes, found.heartbeat_s) == (2, 268435456, 12.5)


def test_helm_has_nothing_to_say_against_the_chart(python: Path) -> None:
    """`helm lint --strict`, with the defaults and with everything switched the other way."""
    other = {
        "region": "eu",
        "autoscaling": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "serviceMonitor": {"enabled": True},
        "service": {"type": "ClusterIP"},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
    }
    calls = [{"do": "lint", "values": values} for values in (NEEDED, other)]
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
        {"region": "sg", "config": {"durabilty": "memory"}},
        {"region": "sg", "config": {"heartbeat_s": 0}},
        {"region": "sg", "config": {"replicas": 1.5}},
        {"region": "sg", "config": {"wss_proxy_protocol": "yes"}},
        {"region": "sg", "podLabels": {"homeport/region": "eu"}},
        {"region": "sg", "extraEnv": [{"name": "HOMEPORT_REGION", "value": "eu"}]},
        {"region": "sg", "extraEnv": [{"name": "homeport_region", "value": "eu"}]},
        {"region": "sg", "extraVolumes": [{"emptyDir": {}}]},
        {"region": "sg", "extraVolumeMounts": [{"name": "ca"}]},
        {"region": "sg", "affinity": {"nodeAffinty": {}}},
        {"region": "sg", "service": {"loadBalancerSourceRanges": ["everywhere"]}},
    ],
    ids=json.dumps,
)
def test_values_that_make_no_region_are_refused(python: Path, values: dict[str, Any]) -> None:
    """G6: one release is one region; and a typo does not fall back to a default in silence."""
    given = {name: value for name, value in NEEDED.items() if name != "region"} | values
    [answer] = helm.call(python, [{"do": "render", "name": "homeport", "values": given}])
    assert list(answer) == ["refused"]


def test_pods_reach_the_redis_that_is_named_and_no_other(python: Path, render: Render) -> None:
    """G6: an empty list of peers is anywhere to Kubernetes, another region's Redis too. It was the
    default; now it is refused, with what to say instead."""
    policy = render()["NetworkPolicy", "homeport-sg"]["spec"]
    names, redis = policy["egress"]
    assert {each["port"] for each in names["ports"]} == {53}
    assert redis["to"] == PEERS
    policies: list[dict[str, Any]] = [{}, {"redisPeers": []}, {"enabled": False}]
    calls = [
        {"do": "render", "name": "homeport-sg", "values": {"region": "sg", "networkPolicy": given}}
        for given in policies
    ]
    default, empty, without = helm.call(python, calls)
    for answer in (default, empty):
        assert "--set 'networkPolicy.redisPeers[0].ipBlock.cidr=" in answer["refused"]
    assert "refused" not in without


def test_only_the_deployment_selects_by_region(render: Render) -> None:
    """G6: a Deployment's selector can't be changed, so no release moves to another region. Once its
    Services, its budget and its policy selected by region, too: they were changed first, and then
    the Deployment was refused, so a region stood without a gateway."""
    objects = render()
    selector = {"app.kubernetes.io/name": "homeport", "app.kubernetes.io/instance": "homeport-sg"}
    deployment = objects["Deployment", "homeport-sg"]
    assert deployment["spec"]["selector"]["matchLabels"] == selector | {"homeport/region": "sg"}
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
    labels = pod(objects)["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


@contextlib.contextmanager
def cluster(*deployments: dict[str, Any]) -> Iterator[str]:
    """The URL of an API server that has these, and answers the two questions of Helm's `lookup`:
    which kinds does apps/v1 have, and the one object."""
    kind = {"name": "deployments", "namespaced": True, "kind": "Deployment", "verbs": ["get"]}
    kinds = {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [kind]}
    place = f"/apis/apps/v1/namespaces/{helm.NAMESPACE}/deployments/"
    found = {place + deployment["metadata"]["name"]: deployment for deployment in deployments}
    missing = {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            answer = kinds if path == "/apis/apps/v1" else found.get(path, missing)
            body = json.dumps(answer).encode()
            self.send_response(404 if answer is missing else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_release_is_not_moved_to_another_region(python: Path, render: Render) -> None:
    """G6: refused while the chart is rendered, before anything in the cluster changes. What stays
    in its region is upgraded, and what is not there yet is installed."""
    there = render()["Deployment", "homeport-sg"]
    with cluster(there) as url:
        calls = [
            {"do": "render", "name": name, "values": NEEDED | {"region": region}, "cluster": url}
            for name, region in (
                ("homeport-sg", "eu"),
                ("homeport-sg", "sg"),
                ("homeport-eu", "eu"),
            )
        ]
        moved, upgraded, installed = helm.call(python, calls)
    assert "is of region sg and can't become one of eu" in moved["refused"]
    for rendered in (upgraded, installed):
        assert "homeport/templates/deployment.yaml" in rendered, rendered


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
    assert found.wss_listen == f"[::]:{ports['wss']}"
    assert found.ops_listen == f"[::]:{ports['ops']}"
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


def test_the_balancer_is_the_one_that_is_asked_for(render: Render) -> None:
    """Who makes it and whom it lets in; a Service that is no balancer may not have either."""
    asked = {
        "loadBalancerClass": "example.com/internal",
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
    }
    found = render(service=asked)["Service", "homeport-sg"]["spec"]
    assert asked.items() <= found.items()
    inside = render(service={**asked, "type": "ClusterIP"})["Service", "homeport-sg"]["spec"]
    assert asked.keys().isdisjoint(inside)


def test_the_notes_say_what_to_do_next(python: Path) -> None:
    """Helm prints them after an installation: each command in them is for this very release."""
    asked = NEEDED | {"service": {"port": 8443}}
    [answer] = helm.call(python, [{"do": "render", "name": "chat-sg", "values": asked}])
    notes = answer["homeport/templates/NOTES.txt"]
    commands = [line.strip() for line in notes.splitlines() if line.startswith("  ")]
    assert len(commands) == 3
    assert all(f"kubectl -n {helm.NAMESPACE} " in command for command in commands)
    assert all("chat-sg" in command for command in commands)
    assert ":8443/v1" in notes and "homeport-keyring" in notes
    assert "rediss://gateway:PASSWORD@" in notes


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
