"""`homeport drain`: have a gateway leave, and watch it go."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any, Final

import typer

from gateway.address import Address
from gateway.cli.environment import Config, Json
from gateway.cli.errors import CommandError, ExitCode
from gateway.config import load_settings

EVERY_S: Final = 0.25
"""How often it is asked how far it is."""

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

    It takes no more connections, and its clients are sent to others, as by SIGTERM. Run it with the
    gateway's configuration, on the machine that it runs on, as the same user or as root. How far it
    is can be shown where `ops_listen` is set.
    """
    settings = load_settings(config, {})
    from gateway.runtime import control  # here, because the other commands need nothing of it

    found = control.running(control.name_of(settings, config))
    if not found:
        raise CommandError(
            "no gateway with this configuration runs here, or it is another user's: "
            "run this as that user, or send SIGTERM to the gateway",
            ExitCode.UNAVAILABLE,
        )
    if len(found) > 1:
        pids = ", ".join(str(each.pid) for each in found)
        raise CommandError(
            f"several gateways with this configuration run here: send SIGTERM to one of {pids}"
        )
    try:
        connection = found[0].ask_to_drain()
    except OSError as error:
        raise CommandError(
            f"the gateway, process {found[0].pid}, does not answer ({error.strerror}): is it "
            "ending already?",
            ExitCode.UNAVAILABLE,
        ) from error
    ops = Address.parse_all(settings.ops_listen)
    with connection:
        _watch(connection, _reachable(ops[0]) if ops else None, settings.drain_s, as_json)
    typer.echo(json.dumps({"state": "gone"}) if as_json else "gone")


def _watch(connection: socket.socket, ops: Address | None, drain_s: float, as_json: bool) -> None:
    """Show how far it is, until `connection` ends with the gateway.

    Raises:
        CommandError: it is there when it should long be gone.
    """
    until = time.monotonic() + drain_s + SPARE_S
    shown = None
    connection.settimeout(EVERY_S)
    while time.monotonic() < until:
        progress = None if ops is None else _progress(ops)
        if progress is not None and progress != shown:
            shown = progress
            typer.echo(json.dumps(progress) if as_json else _line(progress))
        try:
            connection.recv(1)
        except TimeoutError:
            continue
        except OSError:
            pass  # it was killed
        return
    raise CommandError(
        f"the gateway is still there {drain_s + SPARE_S:.0f} s after the drain began; "
        "its log says why",
        ExitCode.UNAVAILABLE,
    )


def _line(progress: dict[str, Any]) -> str:
    return (
        f"draining: {progress['left']} of {progress['to_drain']} sessions left, "
        f"{progress['workers']} workers"
    )


def _progress(where: Address) -> dict[str, Any] | None:
    """How far the drain is, or None where nobody says so."""
    connection = http.client.HTTPConnection(where.host, where.port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/drain")
        answer = connection.getresponse()
        told: dict[str, Any] = json.loads(answer.read()) if answer.status == 200 else {}
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return told if told.get("state") == "draining" else None


def _reachable(address: Address) -> Address:
    """Where to find on this machine what listens on `address`."""
    return Address(_EVERYWHERE.get(address.host, address.host), address.port)
