"""The scripts in ``gateway/store/lua``."""

from __future__ import annotations

from functools import partial
from typing import Final

from gateway.redis.scripts import load

script: Final = partial(load, "gateway.store")
"""Loads a script of this folder, with its first line as the flags."""
