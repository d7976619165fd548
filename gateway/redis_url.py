"""What a `redis_url` says: which kind of Redis, where it answers, and how to log in.

=====================================================  ==========================================
``redis://[user:password@]host[:port][/db]``           one server
``unix://[user:password@]/path/to/socket[?db=…]``      one server, on this machine
``redis+sentinel://[…@]host[:port],…/service[/db]``    the primary that these sentinels name
``redis+cluster://[…@]host[:port],…``                  a cluster; any of its nodes are given
=====================================================  ==========================================

With ``rediss`` in the place of ``redis`` all of it speaks TLS. User and password are those of the
servers, percent-encoded. In the query, as redis-py names them: ``ssl_ca_certs`` (PEM file that the
servers' certificates are checked against; else the system's), ``ssl_certfile`` and
``ssl_keyfile`` (our own certificate, where the servers want one), and, where the sentinels have a
password of their own, ``sentinel_username`` and ``sentinel_password``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL: Final = ("sentinel_username", "sentinel_password")
_PARAMETERS: Final = {
    "unix": ("db", "username", "password"),
    "redis": ("db",),
    "rediss": ("db", *_TLS),
    "redis+sentinel": _SENTINEL,
    "rediss+sentinel": (*_TLS, *_SENTINEL),
    "redis+cluster": (),
    "rediss+cluster": _TLS,
}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A `redis_url`, taken apart.

    `hosts` are the (host, port) of the sentinels, or of some nodes of the cluster; empty for one
    server. `service` is what the sentinels call the primary.
    """

    text: str
    kind: Literal["server", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...]
    service: str
    db: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take `text` apart.

        Raises:
            ValueError: it can't be one; the text says why, and shows nothing of it.
        """
        parts = urlsplit(text)
        if parts.scheme not in _PARAMETERS:
            raise ValueError(
                "must begin with redis://, rediss:// (TLS), unix://, redis+sentinel://, "
                "rediss+sentinel://, redis+cluster:// or rediss+cluster://"
            )
        _check_parameters(parts)
        _, _, kind = parts.scheme.partition("+")
        if kind == "sentinel":
            service, _, db = parts.path.strip("/").partition("/")
            if not service or not (db or "0").isdecimal():
                raise ValueError("must end with the sentinels' name of the primary, like /mymaster")
            return cls(text, "sentinel", _hosts(parts, _SENTINEL_PORT), service, int(db or 0))
        if kind == "cluster":
            if parts.path.strip("/"):
                raise ValueError("must name no database: a cluster has only one")
            return cls(text, "cluster", _hosts(parts, _PORT), "", 0)
        if parts.scheme != "unix":
            _hosts(parts, _PORT)
        return cls(text, "server", (), "", 0)

    def of_server(self, host: str, port: int) -> str:
        """What redis-py needs to connect to one server of the region."""
        user = urlsplit(self.text).netloc.rpartition("@")[0]
        return self._url(f"{user}@" if user else "", host, port, self.db)

    def of_sentinel(self, host: str, port: int) -> str:
        """What redis-py needs to connect to one sentinel."""
        given = dict(parse_qsl(urlsplit(self.text).query))
        user, password = (quote(given.get(name, ""), safe="") for name in _SENTINEL)
        return self._url(f"{user}:{password}@" if password else "", host, port, 0)

    def _url(self, user: str, host: str, port: int, db: int) -> str:
        parts = urlsplit(self.text)
        scheme = parts.scheme.partition("+")[0]
        name = f"[{host}]" if ":" in host else host
        query = urlencode([(key, value) for key, value in parse_qsl(parts.query) if key in _TLS])
        return f"{scheme}://{user}{name}:{port}/{db}" + (f"?{query}" if query else "")


def tls_files(text: str) -> list[Path]:
    """The files that a URL names for TLS."""
    return [Path(value) for name, value in parse_qsl(urlsplit(text).query) if name in _TLS]


def _check_parameters(parts: SplitResult) -> None:
    allowed = _PARAMETERS[parts.scheme]
    given = parse_qsl(parts.query, keep_blank_values=True)
    for name, value in given:
        if name not in allowed:
            known = f"use {', '.join(allowed)}" if allowed else "it takes none"
            raise ValueError(f"has a parameter that {parts.scheme}:// does not take: {known}")
        if name in _TLS and not Path(value).is_file():
            raise ValueError(f"names a file as {name} that is not there")
    names = {name for name, _ in given}
    if ("ssl_certfile" in names) != ("ssl_keyfile" in names):
        raise ValueError("must have both of ssl_certfile and ssl_keyfile, or none")


def _hosts(parts: SplitResult, default: int) -> tuple[tuple[str, int], ...]:
    hosts = []
    for each in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{each}")
        try:
            host, port = one.hostname, one.port
        except ValueError:
            raise ValueError("has a port that is not 0 to 65535") from None
        if not host:
            raise ValueError("must name a host after the //")
        hosts.append((host, port or default))
    return tuple(hosts)
