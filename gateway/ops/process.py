"""The ops process: one per gateway, beside the workers, so that it answers whatever they do.

It hears the workers' reports on a unix socket in the run folder, and answers over HTTP on an
internal port. Its libraries are imported by it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Final

import structlog
import uvicorn

from gateway import sockets
from gateway.address import Address
from gateway.config import Settings
from gateway.ops.pages import pages
from gateway.ops.workers import Workers
from gateway.tasks import Tasks

REAP_S: Final = 0.5
"""How often it looks whether workers have ended."""

END_S: Final = 1
"""How long answers that are under way may take at the end."""

_log = structlog.get_logger()


def run(settings: Settings, folder: Path) -> None:
    """Answer until SIGTERM. `folder` is the run folder of the supervisor, which forked this.

    Raises:
        OSError: `ops_listen` can't be had.
        TaskEnded: what it needs has ended.
    """
    # A terminal sends SIGINT to everybody, and uvicorn would end by it, before the workers.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    asyncio.run(_run(settings, folder))


async def _run(settings: Settings, folder: Path) -> None:
    assert settings.ops_listen is not None, "an ops process runs only if ops_listen is set"
    answering = settings.api_workers if settings.api_listen is not None else 0
    workers = Workers(settings.workers + answering, folder)

    server = uvicorn.Server(
        uvicorn.Config(
            pages(workers.board, workers.totals),
            log_config=None,
            access_log=False,
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=END_S,
        )
    )

    def end() -> None:
        server.should_exit = True

    loop = asyncio.get_running_loop()
    # While uvicorn serves it handles SIGTERM, too, and then raises it anew, for this handler.
    loop.add_signal_handler(signal.SIGTERM, end)
    with contextlib.ExitStack() as held:
        listening = [
            held.enter_context(sock)
            for address in Address.parse_all(settings.ops_listen)
            for sock in sockets.listen(address)
        ]
        held.callback(workers.close)
        loop.add_reader(workers.ears, workers.hear)
        tasks = Tasks()
        reaping = tasks.keep(_reap(workers), "reap")
        serving = asyncio.create_task(server.serve(sockets=listening))
        failed = asyncio.create_task(tasks.failed())
        try:
            _log.info("ops_listening", port=listening[0].getsockname()[1])
            await asyncio.wait({serving, failed}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
            serving.result()
        finally:
            end()
            tasks.dismiss(reaping)
            failed.cancel()
            await asyncio.gather(serving, failed, reaping, return_exceptions=True)
            loop.remove_reader(workers.ears)
            loop.remove_signal_handler(signal.SIGTERM)


async def _reap(workers: Workers) -> None:
    while True:
        workers.reap()
        workers.board.unready()  # so that /startupz knows, also if nobody asked while it was ready
        await asyncio.sleep(REAP_S)
