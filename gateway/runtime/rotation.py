"""A running gateway's keyring: how a new key comes into use while sessions are open.

Gateways do not read a file at the same moment, so a key goes through three steps. As soon as its
file is seen, what others sealed under it opens. Once Redis' stamp shows that the others have the
same key, it may be sealed under; and it is, from the moment that the file says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from gateway.clock import Clock
from gateway.files import FileReader
from gateway.redis.errors import OperationFailed
from gateway.redis.link import Link
from gateway.runtime.core import Core
from gateway.security.keyring import Keyring, KeyringError, KeyringLost
from gateway.store import stamp
from gateway.store.errors import WrongKeys

LOOK_S: Final = 0.1
"""How long the event loop waits for the file that may have a key that a message needs."""

AGAIN_S: Final = 1.0
"""At most one read of the file in this many seconds because of a version that it lacks: anybody
who can write to Redis can name a new version in each message."""

_log = structlog.get_logger()


class LiveKeyring:
    """The keyring of one worker, read from `path`: keeps the sealer and the stamp of `core` up to
    date with it."""

    def __init__(self, core: Core, path: Path, link: Link, clock: Clock) -> None:
        self._keyring = core.keyring
        self._path = path
        self._sealer = sealer = core.sealer
        self._mark = core.stamp
        self._link = link
        self._clock = clock
        self._looked = float("-inf")
        self._reader = FileReader()
        self.apart: frozenset[int] = frozenset()
        """Versions of which other gateways have a different key, according to the stamp."""
        sealer.on_unknown = self._look_again
        self.begin()

    def begin(self) -> None:
        """Choose the key to seal under, by the clock as it is now. Nothing was sealed before."""
        now_ms = self._clock.wall_ms()
        self._sealer.active = self._keyring.active_at(now_ms)
        # The others are held against the stamp as the link connects.
        self._sealer.unproven = self._keyring.coming_at(now_ms)
        self._tell_stamp()

    def sealing_since_ms(self) -> int:
        """Since when the active version seals, in ms since 1970; 0 where its file does not say."""
        return self._keyring.active_from.get(self._sealer.active, 0)

    def prepare(self, path: Path) -> Callable[[], None] | None:
        """Read the file at `path`; returns what takes it up, or None where nothing changed there.

        Changes nothing, and may be called in another thread.

        Raises:
            KeyringError: it can't be used, or lacks a key that something may be sealed under.
        """
        keyring = Keyring.load(path, self._keyring.region)
        for version in self._keyring.keys.keys() - self._sealer.unproven:
            if keyring.keys.get(version) != self._keyring.keys[version]:
                raise KeyringLost(path, version)
        if keyring == self._keyring and path == self._path:
            return None
        return partial(self._take_up, keyring, path, self._keyring)

    def _take_up(self, keyring: Keyring, path: Path, instead_of: Keyring) -> None:
        if self._keyring is not instead_of:
            return  # a message that needed it was quicker
        known = self._keyring.keys
        added = {version for version, key in keyring.keys.items() if known.get(version) != key}
        self._keyring = keyring
        self._path = path
        self.apart = frozenset()
        self._sealer.unproven = (self._sealer.unproven & keyring.keys.keys()) | added
        self._sealer.adopt(keyring)
        self._tell_stamp()
        _log.info("keyring_read", versions=sorted(keyring.keys), added=sorted(added))

    def _look_again(self) -> None:
        """A value is under a version that is not in the keyring: has the file got it by now?"""
        now = self._clock.steady()
        if now < self._looked + AGAIN_S:
            return
        self._looked = now
        try:
            take_up = self._reader.run_now(lambda: self.prepare(self._path), LOOK_S)
        except (KeyringError, OSError) as error:
            _log.error("keyring_refused", problem=str(error))
            return
        if take_up is not None:
            take_up()

    async def settle(self) -> None:
        """Hold new keys against the stamp, and seal under the one whose time has come.

        Where Redis is away nothing changes: call it again.
        """
        now_ms = self._clock.wall_ms()
        keyring, sealer = self._keyring, self._sealer
        due = keyring.active_at(now_ms)
        if due <= sealer.active and not sealer.unproven:
            return
        coming = keyring.coming_at(now_ms)
        identity = stamp.RegionIdentity.of(keyring, coming | sealer.unproven)
        try:
            different = await stamp.announce(self._link.call, identity)
            await stamp.check(self._link.call, replace(identity, coming=coming | different))
        except WrongKeys as error:
            different = sealer.unproven | {error.version}
        except OperationFailed:
            return  # the link says what it is
        if keyring is not self._keyring:
            return  # it was read anew meanwhile
        sealer.unproven = different
        for version in sorted(different - self.apart):
            _log.error(
                "key_differs",
                version=version,
                problem="other gateways have another key of this version: "
                "give all of the region the same key file",
            )
        self.apart = different
        if due > sealer.active and due not in different:
            sealer.active = due
            _log.info("key_activated", version=due)
        self._tell_stamp()

    def _tell_stamp(self) -> None:
        """What a Redis that is connected to anew is held against."""
        coming = self._keyring.coming_at(self._clock.wall_ms()) | self._sealer.unproven
        self._mark.adopt(self._keyring, coming)
