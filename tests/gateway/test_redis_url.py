"""`redis_url`: every kind is understood, and what can't be one is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.redis_url import RedisUrl


def test_sentinels_and_the_servers_they_name() -> None:
    """User, password and database are the servers'; the sentinels have their own."""
    url = RedisUrl.parse(
        "redis+sentinel://gw:a%2Fb@s1,s2:5000,[::1]:5001/hp/2?sentinel_password=p%26q"
    )
    assert (url.kind, url.service) == ("sentinel", "hp")
    assert url.hosts == (("s1", 26379), ("s2", 5000), ("::1", 5001))
    assert url.of_server("10.0.0.7", 6379) == "redis://gw:a%2Fb@10.0.0.7:6379/2"
    assert url.of_server("fe80::7", 6379) == "redis://gw:a%2Fb@[fe80::7]:6379/2"
    assert url.of_sentinel("s1", 26379) == "redis://:p%26q@s1:26379/0"


def test_a_cluster_with_tls(tmp_path: Path) -> None:
    """Each node gets the same certificates, and sentinels that have no password get none."""
    for name in ("ca", "cert", "key"):
        (tmp_path / name).touch()
    query = f"ssl_ca_certs={tmp_path}/ca&ssl_certfile={tmp_path}/cert&ssl_keyfile={tmp_path}/key"
    url = RedisUrl.parse(f"rediss+cluster://gw:pw@a:7000,b?{query}")
    assert (url.kind, url.hosts) == ("cluster", (("a", 7000), ("b", 6379)))
    quoted = query.replace("/", "%2F")
    assert url.of_server("n", 7001) == f"rediss://gw:pw@n:7001/0?{quoted}"
    sentinel = RedisUrl.parse(f"rediss+sentinel://gw:pw@a/hp?{query}")
    assert sentinel.of_sentinel("a", 1) == f"rediss://a:1/0?{quoted}"


@pytest.mark.parametrize("text", ["redis://h", "rediss://:p@h:1/3", "unix:///a/s?db=1&password=p"])
def test_one_server_is_as_redis_py_has_it(text: str) -> None:
    """The text is redis-py's own."""
    url = RedisUrl.parse(text)
    assert (url.kind, url.text) == ("server", text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("redis-cluster://pw@h", "must begin with redis://"),
        ("redis+sentinel://:pw@h:26379", "must end with the sentinels' name"),
        ("redis+sentinel://:pw@h/hp/pw", "must end with the sentinels' name"),
        ("redis+cluster://:pw@h/1", "must name no database"),
        ("redis+cluster://:pw@h,", "must name a host"),
        ("redis://:pw@", "must name a host"),
        ("redis://:pw@h:port", "has a port"),
        ("redis://:pw@h?ssl_ca_certs=/pw", "has a parameter that redis:// does not take: use db"),
        ("redis+cluster://h?pw=1", "has a parameter that redis+cluster:// does not take: it takes"),
        ("rediss://:pw@h?ssl_ca_certs=/none/pw", "names a file as ssl_ca_certs that is not there"),
        ("rediss://:pw@h?ssl_keyfile=/dev/null", "names a file as ssl_keyfile"),
        (f"rediss://:pw@h?ssl_keyfile={__file__}", "must have both of ssl_certfile and ssl_keyf"),
    ],
)
def test_what_can_not_be_one_is_refused(text: str, problem: str) -> None:
    """G8: with what to do, and without showing what may be a password."""
    with pytest.raises(ValueError, match=r".") as caught:
        RedisUrl.parse(text)
    assert str(caught.value).startswith(problem)
    assert "pw" not in str(caught.value)
