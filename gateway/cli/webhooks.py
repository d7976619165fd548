"""`homeport webhook`: where an app's servers are told what happens."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from gateway.apps.webhooks import EVENTS, Signing, Webhook, public_key
from gateway.cli.environment import AppArgument, Environment, Json, in_environment
from gateway.cli.errors import EPILOG
from gateway.cli.output import show, utc
from gateway.store.admin import Admin
from gateway.store.hook_log import LogState

app = typer.Typer(
    no_args_is_help=True, epilog=EPILOG, help="Tell an app's servers what happens in it."
)

WebhookArgument = Annotated[str, typer.Argument(metavar="WEBHOOK_ID")]

_T = TypeVar("_T")


def _table() -> str:
    """The events, for the help. Lines stay as they are after ``\\b``, which is typer's sign."""
    rows = [textwrap.fill(f"{name}: {means}", 76) for name, means in EVENTS.items()]
    return "\n\n".join(f"\b\n{row}" for row in ("The events:", *rows))


def _record(webhook: Webhook, state: LogState | None) -> dict[str, object]:
    """What is shown of an endpoint: everything but its secrets."""
    record: dict[str, object] = {
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "bodies": webhook.bodies,
        "created": utc(webhook.created_ms / 1000),
        "public_keys": [key for key in map(public_key, webhook.secrets) if key],
    }
    if state is not None:
        record |= {
            "off": state.off or None,
            "events_kept": max(0, state.last - state.first + 1),
            "last_event": state.last,
            "waiting": state.waiting,
            "last_taken": utc(state.ok_ms / 1000) if state.ok_ms else None,
            "failing_since": utc(state.since_ms / 1000) if state.since_ms else None,
        }
    return record


def _do(environment: Environment, app_id: str, act: Callable[[Admin, int], Awaitable[_T]]) -> _T:
    """Have the admin of the app's own region do it, at the region's time in milliseconds."""

    async def run() -> _T:
        environment.check_home(app_id)
        async with environment.admin() as admin:
            return await act(admin, await admin.region.now_ms())

    return asyncio.run(run())


@app.command(epilog=_table())
@in_environment
def add(
    environment: Environment,
    app_id: AppArgument,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are sent: https.")],
    *,
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--event", metavar="EVENT", help="Only these; message.* is all that begin so.  [*]"
        ),
    ] = None,
    signing: Annotated[
        str, typer.Option(metavar="hmac|ed25519", help="How they are signed.")
    ] = "hmac",
    bodies: Annotated[
        bool,
        typer.Option(
            "--bodies",
            help="Send what users wrote, too; only to hosts of the app's webhook_body_hosts.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Have an app's events sent to a URL, from now on.

    Prints the endpoint's id and its secret, with which the receiver checks signatures as Standard
    Webhooks says. An hmac secret is not shown again.
    """
    how: Signing
    if signing == "hmac":
        how = "hmac"
    elif signing == "ed25519":
        how = "ed25519"
    else:
        raise typer.BadParameter("one of hmac, ed25519", param_hint="--signing")
    made = _do(
        environment,
        app_id,
        lambda admin, now_ms: admin.webhooks.add(
            app_id, url, tuple(events or ("*",)), now_ms, signing=how, bodies=bodies
        ),
    )
    show(_record(made, None) | _secret(made), as_json)


def _secret(webhook: Webhook) -> dict[str, object]:
    """The newest secret, where the receiver needs it."""
    newest = webhook.secrets[0]
    return {} if public_key(newest) else {"secret": newest}


@app.command("list")
@in_environment
def list_(environment: Environment, app_id: AppArgument, as_json: Json = False) -> None:
    """List an app's webhooks. With --json, one object a line."""
    found = _do(environment, app_id, lambda admin, _: admin.webhooks.all(app_id))
    if as_json:
        for webhook, state in found:
            show(_record(webhook, state), as_json)
    elif not found:
        typer.echo("no webhooks yet; `homeport webhook add APP_ID URL` makes one", err=True)
    else:
        typer.echo(f"{'WEBHOOK ID':<19}  {'WAITING':>8}  {'STATE':<8}  URL")
        for webhook, state in found:
            how = "lost" if state is None else state.off or ("failing" if state.since_ms else "ok")
            waiting = 0 if state is None else state.waiting
            typer.echo(f"{webhook.id}  {waiting:>8}  {how:<8}  {webhook.url}")


@app.command("show")
@in_environment
def show_(
    environment: Environment,
    app_id: AppArgument,
    webhook_id: WebhookArgument,
    as_json: Json = False,
) -> None:
    """Show one webhook, without its secrets."""
    webhook, state = _do(
        environment, app_id, lambda admin, _: admin.webhooks.get(app_id, webhook_id)
    )
    show(_record(webhook, state), as_json)


@app.command()
@in_environment
def events(
    environment: Environment,
    app_id: AppArgument,
    webhook_id: WebhookArgument,
    after: Annotated[int, typer.Option(metavar="N", min=0, help="Those that follow it.")] = 0,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=200)] = 50,
) -> None:
    """Print a webhook's events of the last three days, in order: one JSON object a line.

    Each has what was sent, and the attempts to send it. Numbers that are kept no more are lost.
    """
    page = _do(
        environment,
        app_id,
        lambda admin, now_ms: admin.webhooks.events(app_id, webhook_id, now_ms, after, limit),
    )
    for first, last in page.lost:
        show({"lost": [first, last]}, as_json=True)
    for kept in page.events:
        attempts = [
            {
                "time": utc(each.ms / 1000),
                "ms": each.took_ms,
                "status": each.status,
                "error": each.error,
                "answer": each.answer.decode(errors="replace"),
            }
            for each in kept.attempts
        ]
        show({"id": kept.id, "sent": kept.body, "attempts": attempts}, as_json=True)
    if page.next is not None:
        typer.echo(f"more follow: --after {page.next}", err=True)


@app.command()
@in_environment
def delete(environment: Environment, app_id: AppArgument, webhook_id: WebhookArgument) -> None:
    """Delete a webhook, with all that was and is to be sent to it."""
    _do(
        environment, app_id, lambda admin, now_ms: admin.webhooks.delete(app_id, webhook_id, now_ms)
    )
    typer.echo(f"deleted {webhook_id}")


@app.command()
@in_environment
def rotate(
    environment: Environment,
    app_id: AppArgument,
    webhook_id: WebhookArgument,
    as_json: Json = False,
) -> None:
    """Give a webhook a new secret, and print it.

    The one before signs beside it until the next rotation: give the new one to the receiver, and
    rotate once more to be rid of the old one.
    """
    made = _do(
        environment, app_id, lambda admin, now_ms: admin.webhooks.rotate(app_id, webhook_id, now_ms)
    )
    show(_record(made, None) | _secret(made), as_json)


@app.command()
@in_environment
def test(environment: Environment, app_id: AppArgument, webhook_id: WebhookArgument) -> None:
    """Send a webhook an event that says nothing; `homeport webhook events` shows what it says."""
    number = _do(
        environment, app_id, lambda admin, now_ms: admin.webhooks.test(app_id, webhook_id, now_ms)
    )
    typer.echo(f"event {number}")


@app.command()
@in_environment
def enable(environment: Environment, app_id: AppArgument, webhook_id: WebhookArgument) -> None:
    """Send to a webhook again that was turned off, what waits for it first."""
    _do(
        environment, app_id, lambda admin, now_ms: admin.webhooks.enable(app_id, webhook_id, now_ms)
    )
    typer.echo(f"enabled {webhook_id}")


@app.command()
@in_environment
def redeliver(
    environment: Environment,
    app_id: AppArgument,
    webhook_id: WebhookArgument,
    first: Annotated[int, typer.Argument(metavar="FIRST", min=1, help="The event's number.")],
    last: Annotated[
        int | None, typer.Argument(metavar="LAST", min=1, help="Up to this one, 10,000 at most.")
    ] = None,
) -> None:
    """Send one event again, or a range of them, with the ids that they had."""
    count = _do(
        environment,
        app_id,
        lambda admin, now_ms: admin.webhooks.redeliver(
            app_id, webhook_id, now_ms, first, first if last is None else last
        ),
    )
    typer.echo(f"{count} sent again")
