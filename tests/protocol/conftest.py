"""Hypothesis: leaves no file behind, and does not fail because a machine is busy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("homeport", database=None, deadline=None, print_blob=True)
settings.load_profile("homeport")
