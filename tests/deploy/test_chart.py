"""The Helm chart: what Helm makes of it, and what it refuses."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Settings
from tests.deploy import helm
from tests.deploy.charting import NEEDED, PEERS, SET_BY_THE_CHART, Render, configuration, pod
from tests.deploy.dockerfile import stages
from tests.deploy.tools import DEPLOY


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
