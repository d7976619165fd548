"""`homeport capacity`: what a region of some size needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from gateway.apps.tiers import TIERS
from gateway.cli.environment import Json
from gateway.cli.options import taking
from gateway.cli.output import show
from gateway.cli.sizing import WORKERS, Demand, breaks, plan


def _tier(value: str) -> str:
    if value not in TIERS:
        raise typer.BadParameter(f"one of {', '.join(TIERS)}")
    return value


def _demand(
    *,
    users: Annotated[int, typer.Option(min=1, help="People with an account that is used.")],
    rate: Annotated[float, typer.Option(min=0, help="Messages a second at the peak, in all.")],
    online: Annotated[
        float, typer.Option(min=0, max=1, help="Share of users connected at the peak.")
    ] = 0.1,
    recipients: Annotated[
        float, typer.Option(min=1, help="How many get a message, on average; 1 is direct.")
    ] = 1,
    size: Annotated[int, typer.Option(min=0, help="Bytes of a body, on average.")] = 200,
    waiting: Annotated[
        float, typer.Option(min=0, help="Messages waiting for a user who is away, on average.")
    ] = 20,
    talk: Annotated[
        float, typer.Option(min=1, help="Messages that a conversation keeps, on average.")
    ] = 20,
    tier: Annotated[
        str, typer.Option(metavar="|".join(TIERS), callback=_tier, help="How long they are kept.")
    ] = "basic",
) -> Demand:
    """What the options say."""
    return Demand(users, rate, TIERS[tier], online, recipients, size, waiting, talk)


@taking("demand", _demand)
def capacity(demand: Demand, as_json: Json = False) -> None:
    """Say what a region of some size needs, on paper, and what gives way first.

    The costs are those measured in bench/README.md; deploy/CAPACITY.md explains the arithmetic.
    Nothing is planned at more than half of what it can do.
    """
    found = plan(demand)
    first = breaks(demand, found)
    if as_json:
        show(asdict(found) | {"breaks": first}, as_json)
        return
    gib = 2**30
    lines = {
        "sessions at the peak": f"{found.sessions:,}",
        "gateway replicas": f"{found.replicas:,} of {WORKERS} cores, one of them to spare",
        "gateway memory": f"{found.gateway_bytes / gib:,.1f} GiB in all",
        "Redis primaries": f"{found.primaries:,}, each with a replica",
        "Redis memory": f"{found.redis_bytes / gib:,.1f} GiB, {found.kept_share:.0%} conversations",
        "Redis CPU": f"{found.redis_cores:,.2f} cores in all, "
        f"{found.redis_cores * found.share:.2f} of the busiest primary",
        "network, clients": f"{found.client_bps / 1e6:,.0f} Mbit/s",
        "network, Redis": f"{found.redis_bps / 1e6:,.0f} Mbit/s",
        "all come back within": f"{found.return_s:,.0f} s",
    }
    for name, text in lines.items():
        typer.echo(f"{name:<22}{text}")
    for number, text in enumerate(first, 1):
        typer.echo(f"{'what gives way first' if number == 1 else 'then':<22}{text}")
