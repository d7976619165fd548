"""Which pages in browsers may connect."""

from __future__ import annotations

from websockets.typing import Origin

from gateway.config import Settings


class Origins:
    """The exact list of origins that a browser's upgrade may come from (RFC 6454)."""

    def __init__(self, allowed: list[str], allow_missing: bool) -> None:
        self.list: list[Origin | None] = [Origin(origin) for origin in allowed]
        if allow_missing:
            self.list.append(None)

    def adopt(self, settings: Settings) -> None:
        """Go by the list of `settings` from the next connection on."""
        self.list = Origins(settings.origins, settings.allow_missing_origin).list
