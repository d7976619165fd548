"""What `homeport dev` keeps in its data folder, and how the other commands find it there.

::

    .homeport/
        dev.json                      this module: the app, and where the last run listened
        keys.json                     the region's key file
        ca.pem server.pem server.key  of `gateway.dev.certificates`
        lock valkey.log valkey.sock appendonlydir/   of `gateway.dev.embedded`
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from gateway.config import Settings, load_settings
from gateway.files import write_private

DEFAULT: Final = Path(".homeport")
REGION: Final = "sg"


class DevFolderError(Exception):
    """There is no readable state of `homeport dev` in the folder; carries `folder`."""

    def __init__(self, folder: Path, what: str) -> None:
        super().__init__(f"{what} {folder}; `homeport dev` makes one, `--data` names another")
        self.folder = folder


class DevState(msgspec.Struct, frozen=True):
    """The dev app and the last run: what ``dev.json`` holds, mode 0600.

    `certificate` is the app's primary one, 64 hex digits: with it `send` and `listen` mint their
    tokens. `api_key` is one of the app's, for everything. The URLs are those of the WebSocket
    endpoints, path included, and of the API.
    """

    app_id: str
    certificate: str
    redis_url: str
    plain_url: str
    wss_url: str
    api_url: str
    api_key: str

    def __repr__(self) -> str:
        return f"DevState(app_id={self.app_id!r})"


def ca_file(folder: Path) -> Path:
    """The CA that clients of a dev folder's WSS listener trust."""
    return folder / "ca.pem"


def settings(
    folder: Path,
    redis_url: str,
    plain_listen: str = "127.0.0.1:8080",
    wss_listen: str = "127.0.0.1:8443",
    api_listen: str = "127.0.0.1:8081",
) -> Settings:
    """The configuration of the dev gateway: on loopback only, with the folder's keys and CA.

    Raises:
        ConfigError: `redis_url` is none, or a HOMEPORT_* variable is wrong.
    """
    return load_settings(
        None,
        {
            "region": REGION,
            "redis_url": redis_url,
            "durability": "memory",
            "key_file": folder / "keys.json",
            "plain_listen": plain_listen,
            "wss_listen": wss_listen,
            "api_listen": api_listen,
            "tls_cert": folder / "server.pem",
            "tls_key": folder / "server.key",
            "webhook_networks": ["127.0.0.0/8", "::1/128"],
            "log_level": "warning",
            "log_format": "console",
        },
    )


def save(folder: Path, state: DevState) -> None:
    """Write `state` into `folder`. Raises OSError."""
    write_private(_file(folder), msgspec.json.format(msgspec.json.encode(state)))


def load(folder: Path) -> DevState:
    """Read what `save` wrote.

    Raises:
        DevFolderError: `homeport dev` never got ready in this folder, or its file is damaged.
    """
    try:
        return msgspec.json.decode(_file(folder).read_bytes(), type=DevState)
    except FileNotFoundError:
        raise DevFolderError(folder, "no running or earlier gateway in") from None
    except msgspec.DecodeError:
        raise DevFolderError(folder, "dev.json is damaged in") from None


def _file(folder: Path) -> Path:
    return folder / "dev.json"
