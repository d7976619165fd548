"""What the ops process answers: health, metrics, and how far a drain is."""

from __future__ import annotations

import math
import resource
from collections.abc import Iterable
from dataclasses import asdict

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway import __version__
from gateway.ops.board import Board, Problem
from gateway.ops.metrics import METRICS
from gateway.ops.totals import Totals

PATHS = ["/livez", "/readyz", "/startupz", "/metrics", "/drain"]

_log = structlog.get_logger()


class _Own(Collector):
    """The metrics that only the ops process knows."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterable[Metric]:
        board = self._board
        drain = board.drain()
        for name, value in (
            ("homeport_runtime_workers", board.workers),
            ("homeport_runtime_worker_restarts_total", board.restarts),
            ("homeport_runtime_open_files_limit", _open_files_limit()),
            ("homeport_runtime_ready", int(not board.unready())),
            ("homeport_runtime_drain_sessions", drain.to_drain),
            ("homeport_runtime_drain_left_sessions", drain.left),
        ):
            metric = METRICS[name]
            family = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
            yield family(name, metric.meaning, value=value)
        build = METRICS["homeport_build_info"]
        told = GaugeMetricFamily(build.name, build.meaning, labels=[build.label])
        told.add_metric([__version__], 1)
        yield told


def pages(board: Board, totals: Totals) -> Starlette:
    """The application, an ASGI one."""
    registry = CollectorRegistry()
    registry.register(totals)
    registry.register(_Own(board))

    async def live(_: Request) -> Response:
        return _health(board.hanging())

    async def ready(_: Request) -> Response:
        return _health(board.unready())

    async def started(_: Request) -> Response:
        return _health([] if board.started else board.unready())

    async def metrics(_: Request) -> Response:
        answer = generate_latest(registry)
        try:
            totals.save()  # first, so that counters never go back from what was shown
        except OSError as error:
            _log.error("totals_not_saved", problem=error.strerror)
        return Response(answer, media_type=CONTENT_TYPE_LATEST)

    async def drain(_: Request) -> Response:
        return JSONResponse(asdict(board.drain()))

    async def not_found(_: Request, __: Exception) -> Response:
        return JSONResponse({"error": "there is nothing here", "there_is": PATHS}, 404)

    return Starlette(
        routes=[
            Route("/livez", live),
            Route("/readyz", ready),
            Route("/startupz", started),
            Route("/metrics", metrics),
            Route("/drain", drain),
        ],
        exception_handlers={404: not_found},
    )


def _open_files_limit() -> float:
    """That of this process, which is what all of the gateway were started with."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft


def _health(problems: list[Problem]) -> Response:
    return JSONResponse(
        {"ok": not problems, "problems": [asdict(problem) for problem in problems]},
        503 if problems else 200,
    )
