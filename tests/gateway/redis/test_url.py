"""`redis_url`: every kind is understood, and every part of it is used or refused by name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from gateway.redis.url import Login, RedisUrl


def test_sentinels_and_the_servers_they_name() -> None:
    """User, password and database are the servers'; the sentinels have their own."""
    url = RedisUrl.parse(
        "redis+sentinel://gw:a%2Fb@s1,s2:5000,[::1]:5001/hp/2?sentinel_password=p%26q"
    )
    assert (url.kind, url.service) == ("sentinel", "hp")
    assert url.hosts == (("s1", 26379), ("s2", 5000), ("::1", 5001))
    login = {"username": "gw", "password": "a/b"}
    assert url.of_server("10.0.0.7", 6379) == {"host": "10.0.0.7", "port": 6379, "db": 2, **login}
    own = {"username": None, "password": "p&q"}
    assert url.of_sentinel("s1", 26379) == {"host": "s1", "port": 26379, **own}
    assert set(url.secrets) == {"a/b", "p&q"}


def test_a_cluster_with_tls(tmp_path: Path) -> None:
    """Each node gets the same certificates, and sentinels that have no password get none."""
    for name in ("ca", "cert", "key"):
        (tmp_path / name).touch()
    query = f"ssl_ca_certs={tmp_path}/ca&ssl_certfile={tmp_path}/cert&ssl_keyfile={tmp_path}/key"
    url = RedisUrl.parse(f"rediss+cluster://gw:pw@a:7000,b?{query}")
    assert (url.kind, url.hosts) == ("cluster", (("a", 7000), ("b", 6379)))
    tls = {
        "ssl": True,
        "ssl_ca_certs": f"{tmp_path}/ca",
        "ssl_certfile": f"{tmp_path}/cert",
        "ssl_keyfile": f"{tmp_path}/key",
    }
    login = {"username": "gw", "password": "pw"}
    assert url.of_server("n", 7001) == {"host": "n", "port": 7001, "db": 0, **login, **tls}
    sentinel = RedisUrl.parse(f"rediss+sentinel://gw:pw@a/hp?{query}")
    nobody = {"username": None, "password": None}
    assert sentinel.of_sentinel("a", 1) == {"host": "a", "port": 1, **nobody, **tls}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("redis://h", {"host": "h", "port": 6379, "db": 0}),
        ("REDIS://h:1/", {"host": "h", "port": 1, "db": 0}),
        ("redis://:p@h/3", {"host": "h", "port": 6379, "db": 3, "password": "p"}),
        ("redis://h?db=3", {"host": "h", "port": 6379, "db": 3}),
        ("redis://u:a:b@[::1]:7", {"host": "::1", "port": 7, "username": "u", "password": "a:b"}),
        ("rediss://u:%C3%BC%20@h", {"host": "h", "password": "ü ", "ssl": True}),
        ("unix://u:p@/a%20b/s?db=1", {"unix_socket_path": "/a b/s", "db": 1, "password": "p"}),
    ],
)
def test_one_server(text: str, options: dict[str, object]) -> None:
    """What redis-py is given, and takes, is what the text says."""
    url = RedisUrl.parse(text)
    given = url.of_server()
    assert (url.kind, options | given) == ("server", given)
    Redis(**given)


@given(user=st.text(min_size=1), password=st.text(min_size=1))
def test_any_user_and_password_can_be_written(user: str, password: str) -> None:
    """Percent-encoded, they come out as they went in."""
    try:
        text = f"redis://{quote(user, safe='')}:{quote(password, safe='')}@h/2"
    except UnicodeEncodeError:
        return  # a lone surrogate is no text
    url = RedisUrl.parse(text)
    assert (url.login, url.hosts, url.db) == (Login(user, password), (("h", 6379),), 2)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("redis://127.0.0.9", True),
        ("redis://[::1]:1", True),
        ("redis://LocalHost", True),
        ("unix:///s", True),
        ("redis://10.0.0.1", False),
        ("redis://localhost.example", False),
        ("redis+cluster://127.0.0.1,10.0.0.1", False),
    ],
)
def test_what_stays_on_this_machine(text: str, loopback: bool) -> None:
    """For everything else TLS and a password are a must."""
    assert RedisUrl.parse(text).is_loopback is loopback


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("redis-cluster://pw@h", "must begin with redis://"),
        ("redis:h:6379", "must begin with redis://"),
        ("", "must begin with redis://"),
        # Passwords that are not percent-encoded: where other parsers end up is another server.
        ("redis://gateway:p@pw#word@redis.example:6379", "has a #"),
        ("redis://gateway:123#pw@redis.example:6379", "has a #"),
        ("redis://gw:pw@pw@h:6379", "has more than one @"),
        ("redis://gw:p/pw@h:6379", "has an @ behind a /"),
        ("redis://gw:p?pw@h:6379", "has an @ behind a / or a ?"),
        ("redis://gw:1%pw@h", "has a % without two hex digits"),
        ("redis://gw:pw%@h", "has a % without two hex digits"),
        ("redis://gw:%FFpw@h", "has percent-encoded bytes that are not UTF-8"),
        ("redis://gw:p w@h", "has a space"),
        ("redis://gw:pw@h\n", "has a space"),
        ("redis://gw:püw@h", "has a space, or another character"),
        # A login that no login is.
        ("redis://pw@h", "has an @ without a password before it"),
        ("redis://pw:@h", "has an @ without a password before it"),
        ("redis://@h", "has an @ without a password before it"),
        ("redis+sentinel://s1/hp?sentinel_username=pw", "must have sentinel_password"),
        # Fragments.
        ("redis://redis.example:6379#1", "has a #"),
        ("redis://h#", "has a #"),
        # Databases.
        ("redis://h:6379/chat", "names a database that is no number"),
        ("redis://h:6379/O1", "names a database that is no number"),
        ("redis://h:6379/1/2", "names a database that is no number"),
        ("redis://h/-1", "names a database that is no number"),
        ("redis://h/+1", "names a database that is no number"),
        ("redis://h/01", "names a database that is no number"),
        ("redis://h/1/", "names a database that is no number"),
        ("redis://h//", "names a database that is no number"),
        ("redis://h/%31", "names a database that is no number"),
        ("redis://h/2147483648", "names a database that is no number"),
        ("redis://h?db=x", "names a database that is no number"),
        ("redis://h/1?db=1", "names its database twice"),
        ("redis+cluster://:pw@h/1", "must name no database"),
        ("redis+cluster://:pw@h/0", "must name no database"),
        ("redis+sentinel://h/hp/x", "names a database that is no number"),
        ("redis+sentinel://h/hp/1/2", "names a database that is no number"),
        # The sentinels' name of the primary.
        ("redis+sentinel://:pw@h:26379", "must end with the sentinels' name"),
        ("redis+sentinel://:pw@h/", "must end with the sentinels' name"),
        ("redis+sentinel://:pw@h/hp/", "must end with the sentinels' name"),
        ("redis+sentinel://:pw@h//1", "must end with the sentinels' name"),
        ("redis+sentinel://:pw@h/h%70", "must end with the sentinels' name"),
        # Hosts and ports.
        ("redis+cluster://:pw@h,", "must name a host"),
        ("redis+cluster://h,,i", "must name a host"),
        ("redis://:pw@", "must name a host"),
        ("redis://:6379", "must name a host"),
        ("redis:///0", "must name a host"),
        ("redis://:pw@h:port", "has a port"),
        ("redis://h:", "has a port"),
        ("redis://h:0", "has a port"),
        ("redis://h:65536", "has a port"),
        ("redis://h:-1", "has a port"),
        ("redis://h:6379:6380", "has a port"),
        ("redis://::1:6379", "must name a host"),
        ("redis://fe80::1", "has a port"),
        ("redis://[::1", "must name hosts as host"),
        ("redis://[h]:1", "has no IPv6 address in its brackets"),
        ("redis://[::1]6379", "must name hosts as host"),
        ("redis://h%31", "has a sign in a host"),
        ("redis+sentinel://a;b/hp", "has a sign in a host"),
        ("redis://a,b", "names several hosts"),
        ("redis+sentinel://gw:pw@a,gw:pw@b/hp", "has more than one @"),
        # Sockets.
        ("unix://tmp/redis.sock", "must have the whole path"),
        ("unix://u:pw@tmp/redis.sock", "must have the whole path"),
        ("unix://", "must have the path of a socket"),
        ("unix:///", "must have the path of a socket"),
        ("unix:///a%00b", "must have the path of a socket"),
        (f"unix:///{'a' * 107}", "must have the path of a socket"),
        # Parameters.
        ("redis://:pw@h?ssl_ca_certs=/pw", "has a parameter that redis:// does not take: use db"),
        ("redis://h?socket_timeout=1", "has a parameter that redis:// does not take: use db"),
        ("redis://h?", "has a parameter that redis:// does not take: use db"),
        ("redis://h?db=1&", "has a parameter that redis:// does not take: use db"),
        ("redis://h?db", "has db without a value"),
        ("redis://h?db=", "has db without a value"),
        ("redis://h?db=1&db=2", "has db twice"),
        ("unix:///s?password=pw", "has a parameter that unix:// does not take: use db"),
        ("redis+sentinel://h/hp?sentinel_password=a+pw", "has a + in sentinel_password"),
        ("redis+cluster://h?pw=1", "has a parameter that redis+cluster:// does not take: it takes"),
        ("rediss://:pw@h?ssl_ca_certs=/none/pw", "names a file as ssl_ca_certs that is not there"),
        ("rediss://:pw@h?ssl_keyfile=/dev/null", "names a file as ssl_keyfile"),
        (f"rediss://:pw@h?ssl_keyfile={__file__}", "must have both of ssl_certfile and ssl_keyf"),
    ],
)
def test_what_can_not_be_one_is_refused(text: str, problem: str) -> None:
    """G6, G8: other parsers take most of these, and mean another server, user or database. The text
    says what to write, and shows nothing of what may be a password."""
    with pytest.raises(ValueError, match=r".") as caught:
        RedisUrl.parse(text)
    told = str(caught.value)
    assert told.startswith(problem)
    assert "pw" not in told
