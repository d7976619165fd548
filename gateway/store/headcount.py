"""How many connections each app has: on this gateway, and on the others as far as it was told.

What is here is exact. What is elsewhere is as old as the last telling: the gateway's lease brings
both ways every few seconds (`gateway.store.presence`), and a gateway that dies takes its part with
it when its lease ends. Does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


class Headcount:
    """The connections of one gateway's apps."""

    def __init__(self) -> None:
        self._here: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._heard: dict[str, int] = {}  # what was told and answered
        self._elsewhere: dict[str, int] = {}

    def enter(self, app_id: str) -> None:
        """One more is here."""
        self._here[app_id] = self._here.get(app_id, 0) + 1

    def leave(self, app_id: str) -> None:
        """One less is here."""
        self._here[app_id] -= 1

    def total(self, app_id: str) -> int:
        """On all gateways, as far as is known here."""
        return self._here.get(app_id, 0) + self._elsewhere.get(app_id, 0)

    def known(self, app_id: str) -> bool:
        """True where it was told how many are elsewhere."""
        return app_id in self._elsewhere

    def untold(self, app_id: str) -> int:
        """By how many what is here differs from what was told."""
        return abs(self._here.get(app_id, 0) - self._told.get(app_id, 0))

    def telling(self, app_ids: Iterable[str] | None = None) -> dict[str, int]:
        """What is to be told of these apps, or of all that are here; it counts as told."""
        if app_ids is None:
            self._forget()
            app_ids = tuple(self._here)
        told = {app_id: self._here.setdefault(app_id, 0) for app_id in app_ids}
        self._told |= told
        return told

    def learn(self, told: Mapping[str, int], totals: Sequence[int]) -> None:
        """`totals` answered what was `told`."""
        for (app_id, here), total in zip(told.items(), totals, strict=True):
            if app_id in self._here:
                self._heard[app_id] = here
                self._elsewhere[app_id] = max(0, total - here)

    def _forget(self) -> None:
        """Drop the apps that have nobody here, and of which Redis knows that."""
        for app_id in [app for app, here in self._here.items() if not here]:
            if self._heard.get(app_id) == 0:
                for counts in (self._here, self._told, self._heard, self._elsewhere):
                    counts.pop(app_id, None)
