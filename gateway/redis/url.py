"""What a `redis_url` says: which kind of Redis, where it answers, and how to log in.

=====================================================  ==========================================
``redis://[user:password@]host[:port][/db]``           one server
``unix://[user:password@]/path/to/socket[?db=…]``      one server, on this machine
``redis+sentinel://[…@]host[:port],…/service[/db]``    the primary that these sentinels name
``redis+cluster://[…@]host[:port],…``                  a cluster; any of its nodes are given
=====================================================  ==========================================

With ``rediss`` in the place of ``redis`` all of it speaks TLS. User and password are those of the
servers; without a user, the password is the default user's. In the query, as redis-py names them:
``ssl_ca_certs`` (PEM file that the servers' certificates are checked against; else the system's),
``ssl_certfile`` and ``ssl_keyfile`` (our own certificate, where the servers want one), and, where
the sentinels have a password of their own, ``sentinel_username`` and ``sentinel_password``.

Every part is used, or the URL is refused: what other parsers pass over (a fragment, a database that
is no number, a second ``@``) is mostly a password that was not percent-encoded, and leads to
another server than the one that was meant.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import unquote

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL: Final = ("sentinel_username", "sentinel_password")
_PARAMETERS: Final = {
    "unix": ("db",),
    "redis": ("db",),
    "rediss": ("db", *_TLS),
    "redis+sentinel": _SENTINEL,
    "rediss+sentinel": (*_TLS, *_SENTINEL),
    "redis+cluster": (),
    "rediss+cluster": _TLS,
}
_MAX_DB: Final = 2**31 - 1
"""Redis counts its databases in an int."""

_MAX_SOCKET_PATH: Final = 107
"""Bytes: `sun_path` holds 108 with its zero byte (unix(7))."""

_ENCODE: Final = (
    "percent-encode what user and password have of these: %25 for a %, %40 for an @, %3A for a :, "
    "%2F for a /, %3F for a ?, %23 for a #"
)


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in: `user` is None for the default user."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A `redis_url`, taken apart.

    `hosts` are the (host, port) of the server, of the sentinels, or of some nodes of the cluster;
    none where it is a unix socket, at `path`. `service` is what the sentinels call the primary.
    `tls` says whether all of them speak it, with the files in `tls_files` by redis-py's names.
    """

    kind: Literal["server", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...]
    path: str
    service: str
    db: int
    login: Login
    sentinel_login: Login
    tls: bool
    tls_files: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take `text` apart.

        Raises:
            ValueError: it can't be one; the text says why and what to write, and shows nothing of
                it.
        """
        scheme, netloc, path, query = _split(text)
        login, address = _login(netloc)
        given = {} if query is None else _parameters(scheme, query)
        before, _, kind = scheme.partition("+")
        service = ""
        hosts: tuple[tuple[str, int], ...] = ()
        if scheme == "unix":
            if address:
                raise ValueError(
                    "must have the whole path of the socket behind unix://, like unix:///run/r.sock"
                )
            path, db = _socket_path(path), "0"
        elif kind == "sentinel":
            hosts = _hosts(address, _SENTINEL_PORT)
            service, slash, db = path.partition("/")
            if not re.fullmatch(r"[A-Za-z0-9._-]+", service) or (slash and not db):
                raise ValueError("must end with the sentinels' name of the primary, like /mymaster")
        elif kind == "cluster":
            hosts, db = _hosts(address, _PORT), "0"
            if path:
                raise ValueError("must name no database: a cluster has only one")
        else:
            hosts, db = _hosts(address, _PORT), path
            if len(hosts) > 1:
                raise ValueError(
                    "names several hosts: begin it with redis+cluster:// for a cluster, "
                    "or redis+sentinel:// for sentinels"
                )
        if db and "db" in given:
            if scheme != "unix":
                raise ValueError("names its database twice: write it once, behind the /")
            db = given["db"]
        return cls(
            kind="sentinel" if kind == "sentinel" else "cluster" if kind else "server",
            hosts=hosts,
            path=path if scheme == "unix" else "",
            service=service,
            db=_database(db or given.get("db", "0")),
            login=login,
            sentinel_login=_sentinel_login(given),
            tls=before == "rediss",
            tls_files={name: value for name, value in given.items() if name in _TLS},
        )

    @property
    def is_loopback(self) -> bool:
        """True where nothing of it leaves this machine."""
        return all(_is_loopback(host) for host, _ in self.hosts)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must be shown nowhere."""
        logins = (self.login, self.sentinel_login)
        return tuple(login.password for login in logins if login.password)

    def of_server(self, host: str = "", port: int = 0) -> dict[str, Any]:
        """What `redis.asyncio.Redis` needs to connect to one server of the region; without a host,
        to the one server that there is."""
        options = {"db": self.db, **self._options(self.login)}
        if self.path:
            return {"unix_socket_path": self.path, **options}
        if not host:
            ((host, port),) = self.hosts
        return {"host": host, "port": port, **options}

    def of_sentinel(self, host: str, port: int) -> dict[str, Any]:
        """What `redis.asyncio.Redis` needs to connect to one sentinel."""
        return {"host": host, "port": port, **self._options(self.sentinel_login)}

    def _options(self, login: Login) -> dict[str, Any]:
        options: dict[str, Any] = {"username": login.user, "password": login.password}
        if self.tls:
            options |= {"ssl": True, **self.tls_files}
        return options


def place_of(host: str, port: int) -> str:
    """How a server is named in a text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _split(text: str) -> tuple[str, str, str, str | None]:
    """Scheme, network location, path, and query; None: there is no ``?``.

    Raises:
        ValueError: see `RedisUrl.parse`.
    """
    if not re.fullmatch(r"[!-~]*", text):
        raise ValueError(
            "has a space, or another character that a URL can't have: "
            "percent-encode it, as %20 for a space"
        )
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if scheme not in _PARAMETERS or not separator:
        raise ValueError(
            "must begin with redis://, rediss:// (TLS), unix://, redis+sentinel://, "
            "rediss+sentinel://, redis+cluster:// or rediss+cluster://"
        )
    if "#" in rest:
        raise ValueError(f"has a #, after which nothing would be read: {_ENCODE}")
    if re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        raise ValueError(f"has a % without two hex digits after it: {_ENCODE}")
    place, asked, query = rest.partition("?")
    netloc, _, path = place.partition("/")
    if "@" in path or "@" in query:
        raise ValueError(f"has an @ behind a / or a ?: {_ENCODE}")
    return scheme, netloc, path, query if asked else None


def _login(netloc: str) -> tuple[Login, str]:
    """User and password, and what is behind them."""
    userinfo, at, address = netloc.rpartition("@")
    if not at:
        return Login(), address
    if "@" in userinfo:
        raise ValueError(
            f"has more than one @: user and password stand once, before the first host; {_ENCODE}"
        )
    user, colon, password = userinfo.partition(":")
    if not colon or not password:
        raise ValueError(
            "has an @ without a password before it: write user:password@, "
            "or :password@ for the default user"
        )
    return Login(_decoded(user) or None, _decoded(password)), address


def _sentinel_login(given: dict[str, str]) -> Login:
    user, password = (given.get(name) for name in _SENTINEL)
    if user is not None and password is None:
        raise ValueError("must have sentinel_password with sentinel_username")
    return Login(user, password)


def _parameters(scheme: str, query: str) -> dict[str, str]:
    allowed = _PARAMETERS[scheme]
    given: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, raw = pair.partition("=")
        if name not in allowed:
            known = f"use {', '.join(allowed)}" if allowed else "it takes none"
            raise ValueError(
                f"has a parameter that {scheme}:// does not take: {known}; "
                "a ? or & in a password is written %3F or %26"
            )
        if name in given:
            raise ValueError(f"has {name} twice: write it once")
        if "+" in raw:
            raise ValueError(f"has a + in {name}: write %2B, or %20 for a space")
        value = _decoded(raw)
        if not value:
            raise ValueError(f"has {name} without a value: write {name}=…, or leave it out")
        if name in _TLS and not Path(value).is_file():
            raise ValueError(f"names a file as {name} that is not there")
        given[name] = value
    if ("ssl_certfile" in given) != ("ssl_keyfile" in given):
        raise ValueError("must have both of ssl_certfile and ssl_keyfile, or none")
    return given


def _hosts(address: str, default: int) -> tuple[tuple[str, int], ...]:
    return tuple(_host(each, default) for each in address.split(","))


def _host(text: str, default: int) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::(.*))?", text)
    if match is None:
        raise ValueError(
            "must name hosts as host or host:port; an IPv6 address stands in brackets, like "
            "[::1]:6379"
        )
    bracketed, host, port = match.groups()
    if bracketed is not None:
        try:
            ipaddress.IPv6Address(bracketed)
        except ValueError:
            raise ValueError("has no IPv6 address in its brackets") from None
    elif not host:
        raise ValueError("must name a host: after the //, and after each comma")
    elif not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        raise ValueError(
            f"has a sign in a host that no host name has: write host:port,host:port; {_ENCODE}"
        )
    if port is None:
        return bracketed or host, default
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f"has a port that is not 1 to 65535; {_ENCODE}")
    return bracketed or host, int(port)


def _database(text: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,9}", text) or int(text) > _MAX_DB:
        raise ValueError(
            "names a database that is no number: databases have numbers, from 0, and nothing "
            "follows them"
        )
    return int(text)


def _socket_path(path: str) -> str:
    found = "/" + _decoded(path)
    if not path or "\0" in found or len(os.fsencode(found)) > _MAX_SOCKET_PATH:
        raise ValueError(
            f"must have the path of a socket behind unix://, of {_MAX_SOCKET_PATH} bytes at most"
        )
    return found


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("has percent-encoded bytes that are not UTF-8") from None


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
