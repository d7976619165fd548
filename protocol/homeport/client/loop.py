"""The event loop that a client belongs to."""

from __future__ import annotations

import asyncio


class OwnLoop:
    """The one event loop that a client is used in. It is found at the first use, not at making."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entered = False

    def bind(self) -> None:
        """Make the running loop the client's own, if it has none yet.

        Raises:
            RuntimeError: no loop runs, or the client belongs to another one.
        """
        running = _running()
        if running is None or self._loop not in (None, running):
            raise RuntimeError(
                "this client belongs to another thread or event loop; from there, call it by "
                "asyncio.run_coroutine_threadsafe or loop.call_soon_threadsafe"
            )
        self._loop = running

    def enter(self) -> None:
        """Bind; the client can be used from now on.

        Raises:
            RuntimeError: as `bind`, or the client was entered before.
        """
        self.bind()
        if self._entered:
            raise RuntimeError("a client is used once; make a new one")
        self._entered = True

    def check(self) -> None:
        """Check that the client was entered, in the running loop.

        Raises:
            RuntimeError: it was not.
        """
        if not self._entered:
            raise RuntimeError("use the client as `async with Client(...) as client`")
        if self._loop is not _running():
            self.bind()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
