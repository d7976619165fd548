"""compose.yaml: what it names is there, and what it runs, runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.config import Settings, load_settings
from gateway.dev.embedded import EmbeddedValkey, packaged_server
from gateway.redis.url import RedisUrl
from gateway.security.keyring import Keyring
from tests.acl import rules_of
from tests.deploy.dockerfile import stages
from tests.deploy.tools import DEPLOY, read_yaml, run
from tests.processes import PROGRAM

COMPOSE = read_yaml(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
_, IMAGE = stages(DEPLOY / "Dockerfile")


def mounts(service: str) -> dict[str, str]:
    """Where a service sees what: path in the container -> file here, or volume."""
    listed = [mount.split(":") for mount in SERVICES[service].get("volumes", [])]
    return {place: source for source, place, *_ in listed}


def settings() -> Settings:
    """The configuration that the gateways start with."""
    return load_settings(DEPLOY / "config" / "gateway.toml", {})


def test_everything_that_is_named_is_there() -> None:
    """Files that are mounted, volumes, networks, services that are waited for, the Dockerfile."""
    for name, service in SERVICES.items():
        for place, source in mounts(name).items():
            assert place.startswith("/"), place
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
            else:
                assert source in COMPOSE["volumes"], source
        for network in service.get("networks", []):
            assert network in COMPOSE["networks"]
        for other in service.get("depends_on", []):
            assert other in SERVICES
        if "build" in service:
            context = DEPLOY / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")


def test_the_gateways_are_what_the_balancer_and_prometheus_ask_for() -> None:
    """Names and ports agree between compose.yaml, gateway.toml, haproxy.cfg and prometheus.yml."""
    gateways = {name for name, service in SERVICES.items() if name.startswith("gateway-")}
    assert len(gateways) == 2
    found = settings()
    assert found.wss_listen is not None and found.ops_listen is not None
    wss, ops = (where.rpartition(":")[2] for where in (found.wss_listen, found.ops_listen))
    lines = (DEPLOY / "haproxy.cfg").read_text().splitlines()
    servers = {line.split()[1]: line.split()[2] for line in lines if line.startswith("    server ")}
    assert servers == {name: f"{name}:{wss}" for name in gateways}
    assert any(f"check port {ops} " in line for line in lines)
    assert f"    bind :{SERVICES['haproxy']['ports'][0].rpartition(':')[2]}" in lines
    [job] = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]
    [targets] = job["static_configs"]
    assert set(targets["targets"]) == {f"{name}:{ops}" for name in gateways}
    assert IMAGE.environment()["HOMEPORT_OPS_LISTEN"] == found.ops_listen
    assert IMAGE.arguments("EXPOSE") == [f"{wss} {ops}"]


def test_the_gateways_trust_the_network_of_the_balancer_and_no_other() -> None:
    """Engines give networks of their own pools: with podman's, 10.89.0.0/16, every client was
    refused. So the network has a subnet, and the configuration names it."""
    [pool] = COMPOSE["networks"]["front"]["ipam"]["config"]
    assert settings().trusted_proxies == [pool["subnet"]]
    for name in ("haproxy", "gateway-1", "gateway-2"):
        assert "front" in SERVICES[name]["networks"]


def test_a_gateways_health_does_not_need_the_images_own_check() -> None:
    """An OCI image has no HEALTHCHECK, and the balancer waits for healthy gateways."""
    for name in ("gateway-1", "gateway-2"):
        check = SERVICES[name]["healthcheck"]
        assert check["test"] == ["CMD", *IMAGE.command("HEALTHCHECK")]
        assert SERVICES["haproxy"]["depends_on"][name] == {"condition": "service_healthy"}
        options = IMAGE.arguments("HEALTHCHECK")[-1]
        for option in ("interval", "timeout", "retries"):
            assert f"--{option}={check[option]}" in options


def test_prometheus_finds_alertmanager() -> None:
    """By the service's name and port, with the file that is tested."""
    config = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")
    [where] = config["alerting"]["alertmanagers"]
    [target] = where["static_configs"][0]["targets"]
    name, _, port = target.partition(":")
    assert SERVICES[name]["ports"][0].endswith(f":{port}")
    [flag] = [word for word in SERVICES[name]["command"] if word.startswith("--config.file=")]
    assert mounts(name)[flag.partition("=")[2]] == "./prometheus/alertmanager.yml"


@pytest.mark.parametrize("name", [name for name, s in SERVICES.items() if "ports" in s])
def test_each_port_can_be_another(name: str) -> None:
    """Another site, or anything else, may have them on this machine."""
    for port in SERVICES[name]["ports"]:
        assert re.fullmatch(r"(127\.0\.0\.1:)?\$\{[A-Z]+_PORT:-(\d+)\}:\2", port), port


def test_a_gateway_is_waited_for_longer_than_its_drain_takes() -> None:
    """G10: Docker kills what has not ended by then."""
    for name in ("gateway-1", "gateway-2"):
        patience = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert patience >= settings().drain_s + 10


def test_the_gateways_are_kept_from_everything_they_do_not_need() -> None:
    """No capability, no root file system to write to, and Redis on a network of its own."""
    for name in ("gateway-1", "gateway-2"):
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert all(mount.endswith(":ro") for mount in service["volumes"])
    assert SERVICES["redis"]["networks"] == ["store"]
    assert COMPOSE["networks"]["store"]["internal"] is True
    assert "ports" not in SERVICES["redis"]


def test_setup_makes_the_keyring_and_the_certificate_and_never_replaces_them(
    tmp_path: Path,
) -> None:
    """What the gateways are configured with is there afterwards, theirs alone, and stays."""
    [script] = SERVICES["setup"]["command"]
    assert "cd /var/lib/homeport\n" in script
    script = script.replace("/var/lib/homeport", str(tmp_path))
    environment = {"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    entry = SERVICES["setup"]["entrypoint"]
    found = settings()
    assert found.tls_cert is not None and found.tls_key is not None
    files = [found.key_file, found.tls_cert, found.tls_key]
    places = [tmp_path / path.relative_to("/var/lib/homeport") for path in files]
    made = []
    for _ in range(2):
        ran = run(*entry, script, env=environment)
        assert ran.returncode == 0, ran.stderr
        made.append([place.read_bytes() for place in places])
    assert made[0] == made[1]
    assert list(Keyring.load(places[0], found.region).keys) == [1]


def test_the_region_is_begun_before_the_gateways_which_cannot_note_it(tmp_path: Path) -> None:
    """Gateways have the keyring read-only, and begin no region with it."""
    service = SERVICES["region"]
    assert mounts("region")["/var/lib/homeport"] == mounts("gateway-1")["/var/lib/homeport"]
    assert not any(mount.endswith("homeport:ro") for mount in service["volumes"][1:])
    for name in ("gateway-1", "gateway-2"):
        waits = SERVICES[name]["depends_on"]["region"]
        assert waits == {"condition": "service_completed_successfully"}
    keyring = Keyring.create(tmp_path / "keys.json", "sg")
    with EmbeddedValkey(tmp_path / "valkey") as valkey:
        config = tmp_path / "gateway.toml"
        config.write_text(
            f'region = "sg"\nredis_url = "{valkey.url}"\nkey_file = "{keyring.path}"\n'
            'plain_listen = "127.0.0.1:0"\ndurability = "memory"\n'
        )
        command = [*service["entrypoint"], *service["command"]]
        command[command.index("/etc/homeport/gateway.toml")] = str(config)
        environment = {"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
        for said in ("begun: region sg", "has begun in this Redis already"):  # as at each `up`
            ran = run(*command, env=environment)
            assert ran.returncode == 0, ran.stderr
            assert said in ran.stdout


PASSWORDS = {f"REDIS_{user}_PASSWORD": user.lower() for user in ("ADMIN", "GATEWAY", "OPERATOR")}


def filled_in(text: str) -> str:
    """What compose makes of `${NAME:?why}`: a variable that must be set."""
    return re.sub(r"\$\{(\w+):\?[^}]+\}", lambda found: PASSWORDS[found[1]], text)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a server that runs by the command of service `redis`."""
    folder = tmp_path_factory.mktemp("redis")
    command = shlex.split(filled_in(SERVICES["redis"]["command"]))
    assert command[0] == "valkey-server"
    command[command.index("/data")] = str(folder)
    where = folder / "socket"
    with subprocess.Popen(
        [packaged_server(), *command[1:], "--port", "0", "--unixsocket", where],
        stdout=subprocess.DEVNULL,
    ) as server:
        try:
            with client(where, "default", "admin") as admin:
                admin.ping()
            yield where
        finally:
            server.terminate()
            server.wait(30)


def client(where: Path, user: str, password: str | None) -> redis.Redis:
    """A client that waits until the server is there."""
    return redis.Redis(
        unix_socket_path=str(where),
        username=user,
        password=password,
        retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 200),
        retry_on_error=[redis.ConnectionError],
    )


def test_redis_is_as_durable_as_the_gateways_ask_for(served: Path) -> None:
    """G1: the options are taken by a real server, and are what `durability` needs."""
    with client(served, "default", "admin") as admin:
        config = admin.config_get("append*", "maxmemory-policy")
    assert settings().durability == "fsync"
    assert (config["appendonly"], config["appendfsync"]) == ("yes", "always")
    assert config["maxmemory-policy"] == "noeviction"


def test_redis_has_the_runbooks_users_and_lets_nobody_else_in(served: Path) -> None:
    """G6: rights are written in two places, and are the same; each user has its own password."""
    words = filled_in(SERVICES["redis"]["command"]).split()
    for user in ("gateway", "operator"):
        begin = words.index(user)
        end = words.index("--user", begin) if "--user" in words[begin:] else len(words)
        assert " ".join(words[begin:end]) == f"{user} on >{user} {rules_of(user)}"
        with client(served, user, user) as logged_in:
            assert logged_in.get("hp:sg:anything") is None
            with pytest.raises(redis.exceptions.NoPermissionError):
                logged_in.flushall()
    for user, password in (("default", ""), ("gateway", "operator"), ("nobody", "gateway")):
        with (
            client(served, user, password) as refused,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            refused.ping()


def test_gateways_log_in_as_their_user_and_the_region_is_begun_by_the_operator() -> None:
    """Each service's `redis_url` names one of Redis' users, and no password is in this file."""
    users = {"gateway-1": "gateway", "gateway-2": "gateway", "region": "operator"}
    for name, user in users.items():
        given = SERVICES[name]["environment"]["HOMEPORT_REDIS_URL"]
        assert "${" in given
        url = RedisUrl.parse(filled_in(given))
        assert (url.login.user, url.login.password) == (user, user)
        assert url.hosts == (("redis", 6379),)
    example = RedisUrl.parse(settings().redis_url)
    assert example.tls and example.login.user == "gateway" and example.login.password


def test_redis_health_is_asked_as_somebody_who_may(served: Path) -> None:
    """Without a password the answer is NOAUTH, and the program ends as if that were fine."""
    program = shutil.which("redis-cli")
    if program is None:
        pytest.skip("redis-cli is not installed: apt install redis-tools")
    kind, check = SERVICES["redis"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    check = check.replace("valkey-cli", f"{program} -s {served}")
    given = {name: filled_in(v) for name, v in SERVICES["redis"]["environment"].items()}
    assert run("sh", "-c", check, env=given | {"PATH": os.environ["PATH"]}).returncode == 0
    assert run("sh", "-c", check, env={"PATH": os.environ["PATH"]}).returncode != 0


def test_grafana_finds_its_data_and_its_dashboard() -> None:
    """Provisioning: the dashboard's file is where the provider looks, the data where it says."""
    folder = DEPLOY / "grafana" / "provisioning"
    assert mounts("grafana")["/etc/grafana/provisioning"] == "./grafana/provisioning"
    [provider] = read_yaml(folder / "dashboards" / "homeport.yaml")["providers"]
    [dashboard] = [
        place for place, source in mounts("grafana").items() if source.endswith("dashboard.json")
    ]
    assert Path(dashboard).parent == Path(provider["options"]["path"])
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == dashboard
    [source] = read_yaml(folder / "datasources" / "prometheus.yaml")["datasources"]
    name, _, port = source["url"].removeprefix("http://").partition(":")
    assert name in SERVICES
    assert SERVICES[name]["ports"] == [f"127.0.0.1:${{PROMETHEUS_PORT:-9090}}:{port}"]
    scraped = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped


@pytest.mark.parametrize("name", [n for n, s in SERVICES.items() if s["image"] != "homeport"])
def test_images_are_pinned(name: str) -> None:
    """An image without a version is another one tomorrow."""
    _, _, tag = SERVICES[name]["image"].partition(":")
    assert tag and tag != "latest", json.dumps(SERVICES[name]["image"])
