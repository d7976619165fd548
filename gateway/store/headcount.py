"""How many connections each app has: on this gateway, and on the others as they last reported.

The count of this gateway is exact. Renewing the gateway's lease (`gateway.store.presence`) sends it
to Redis every few seconds, and returns the counts of the others. When a gateway dies, its share
ends with its lease. Does no I/O.
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
        """True if the other gateways' count of this app is known."""
        return app_id in self._elsewhere

    def untold(self, app_id: str) -> int:
        """The difference between this gateway's count and the count that it reported last."""
        return abs(self._here.get(app_id, 0) - self._told.get(app_id, 0))

    def telling(self, app_ids: Iterable[str] | None = None) -> dict[str, int]:
        """The counts to report for these apps, or for all apps that are here.

        The caller must report them: they count as reported from now on."""
        if app_ids is None:
            self._forget()
            app_ids = tuple(self._here)
        told = {app_id: self._here.setdefault(app_id, 0) for app_id in app_ids}
        self._told |= told
        return told

    def learn(self, told: Mapping[str, int], totals: Sequence[int]) -> None:
        """Take in Redis' answer to the report `told`: each app's count on all gateways."""
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
