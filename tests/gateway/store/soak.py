"""`make soak`: the walks of `test_conversations_model`, by chance, while there is time.

pytest does not collect this by itself: a commit's tests take the same walks each time.
"""

from __future__ import annotations

import os
import secrets
import time

import pytest
from hypothesis import Phase, seed

from tests.gateway.store.test_conversations_model import Conversations, walk

WALKS = 5
"""With one seed; they take some seconds, and on a busy machine half a minute."""

STORES = 2
"""That `store_url` gives, of which each gets its part of the time."""


@pytest.mark.timeout(0)
def test_fresh_walks_agree_with_the_model(store_url: str) -> None:
    """G1 to G5, as the test of the model itself. A failure is shrunk, for five minutes at most.

    The environment has `SOAK_S`, after which no seed is begun, and perhaps `SOAK_SEED`, the only
    one to take.
    """
    over = time.monotonic() + float(os.environ["SOAK_S"]) / STORES
    chosen = os.environ.get("SOAK_SEED")
    while True:
        number = int(chosen) if chosen else secrets.randbelow(2**32)
        print(f"\nseed {number}; to repeat it: make soak SOAK_SEED={number}", flush=True)

        class Fresh(Conversations):
            """Takes the walks of this seed."""

        walk(
            store_url,
            seed(number)(Fresh),
            max_examples=WALKS,
            phases=[Phase.generate, Phase.shrink],
        )
        if chosen or time.monotonic() > over:
            return
