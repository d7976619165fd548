"""`homeport drain`: have a gateway leave, and watch it go."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any, Final

import typer

from gateway.cli.errors import CommandError, ExitCode
from gateway.cli.place import Config, Json
from gateway.config import Address, Settings, load_settings

EVERY_S: Final = 0.25
"""Less than a start takes: between a gateway and its successor nobody answers, and that is seen."""

ANSWER_S: Final = 5.0
"""How long the ops process may take for an answer."""

SPARE_S: Final = 15.0
"""How long after the gateway's own deadline its end is waited for."""

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - told apart, not bound


def drain(
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Have the gateway of this machine leave without losing anything, and wait until it is gone.

    It takes no more connections, and its clients are sent to others, as by SIGTERM. Needs
    `ops_listen`; a gateway can only be drained from the machine that it runs on.
    """
    settings = load_settings(config, {})
    if settings.ops_listen is None:
        raise CommandError(
            "ops_listen is not set, so nobody can be asked; send SIGTERM to the gateway instead",
            ExitCode.USAGE,
        )
    where = _reachable(Address.parse(settings.ops_listen))
    try:
        status, body = _ask("POST", where)
    except (OSError, http.client.HTTPException) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise CommandError(
            f"no gateway answers at {where} ({why}): is it running?",
            ExitCode.UNAVAILABLE,
        ) from error
    if status >= 300:
        said = body.decode(errors="replace").strip()
        raise CommandError(f"the gateway refuses to drain: HTTP {status} {said}".rstrip())
    _watch(where, settings, as_json)
    typer.echo(json.dumps({"state": "gone"}) if as_json else "gone")


def _watch(where: Address, settings: Settings, as_json: bool) -> None:
    """Show how far it is, until it does not answer any more or another has taken its place.

    Raises:
        CommandError: it is there when it should long be gone.
    """
    until = time.monotonic() + settings.drain_s + SPARE_S
    shown = None
    begun = False
    while time.monotonic() < until:
        try:
            status, body = _ask("GET", where)
        except TimeoutError:
            continue
        except (OSError, http.client.HTTPException):
            return
        progress: dict[str, Any] = json.loads(body) if status == 200 else {}
        if progress.get("state") == "draining":
            begun = True
        elif begun:
            return  # whoever answers now is its successor
        if progress != shown and begun:
            shown = progress
            typer.echo(json.dumps(progress) if as_json else _line(progress))
        time.sleep(EVERY_S)
    raise CommandError(
        f"the gateway is still there {settings.drain_s + SPARE_S:.0f} s after it was told to go; "
        "its log says why",
        ExitCode.UNAVAILABLE,
    )


def _line(progress: dict[str, Any]) -> str:
    return (
        f"draining: {progress['left']} of {progress['to_drain']} sessions left, "
        f"{progress['workers']} workers"
    )


def _ask(method: str, where: Address) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(where.host, where.port, timeout=ANSWER_S)
    try:
        connection.request(method, "/drain")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _reachable(address: Address) -> Address:
    """Where to find on this machine what listens on `address`."""
    return Address(_EVERYWHERE.get(address.host, address.host), address.port)
