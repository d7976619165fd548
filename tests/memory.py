"""How much memory something leaves behind, for what must not add up in a long life."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def counting_memory() -> Iterator[Callable[[], int]]:
    """Yields a function that gives the bytes which Python has allocated since, and not freed."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()

        def kept() -> int:
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - before

        yield kept
    finally:
        tracemalloc.stop()
