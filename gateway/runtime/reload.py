"""Live changes: what a running worker takes up from its files, while connections stay open.

It looks at the files every two seconds, and when it is asked to (SIGHUP). A reload is all or
nothing: everything that can be wrong is found out before anything changes. Files are read in a
thread, so that a disk or a mount that does not answer holds up nobody.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from gateway.clock import Clock
from gateway.config import ConfigError, Settings, Source
from gateway.files import FileReader, FilesDoNotAnswer
from gateway.net.tls import Certificate, TLSError
from gateway.runtime import logs
from gateway.runtime.rotation import LiveKeyring
from gateway.security.keyring import KeyringError

LOOK_S: Final = 2.0
"""Seconds between two looks at the files."""

AGAIN_S: Final = 30.0
"""Seconds after which files that were refused are tried again, as they are."""

LIVE: Final[Mapping[str, str]] = {
    "tls_cert": "certificate",
    "tls_key": "certificate",
    "key_file": "keyring",
    "origins": "origins",
    "allow_missing_origin": "origins",
    "directory": "directory",
    "api_directory": "directory",
    "log_level": "log",
    "max_connections_per_ip": "protection",
    "ip_connect_rate": "protection",
    "connect_rate": "protection",
    "max_outbox_bytes": "protection",
    "trusted_proxies": "protection",
    "client_address_header": "protection",
}
"""Each setting that may change in a running worker, and the part that takes it up: certificate,
keyring, log, or one of the `parts` that a process gives to `Reloading`."""

RESTART: Final = frozenset(
    {
        "region",
        "redis_url",
        "durability",
        "replicas",
        "allow_eviction",
        "wss_listen",
        "wss_proxy_protocol",
        "plain_listen",
        "plain_proxy_protocol",
        "tls_terminated_upstream",
        "heartbeat_s",  # clients were told it as they connected
        "workers",
        "ops_listen",
        "webhook_networks",
        "api_listen",
        "api_workers",
        "drain_s",
        "compatible",
        "log_format",
    }
)
"""Each other setting: a change of it waits until the gateway is started anew."""

Part = Callable[[Settings], None]
"""Takes its settings up. Must not raise: what is wrong with a setting is found as it is read."""

_log = structlog.get_logger()


def merged(running: Settings, read: Settings) -> Settings:
    """The settings of a gateway that runs with `running` once it has taken up `read`."""
    return running.model_copy(update={name: getattr(read, name) for name in LIVE})


def current(settings: Settings, source: Source) -> Settings:
    """The settings of a process that starts long after `settings` were read from `source`.

    If the source has become invalid, these are `settings`, which the other processes use too.
    """
    try:
        return merged(settings, source.read())
    except ConfigError as error:
        _refuse(error)
        return settings


def _refuse(error: Exception) -> None:
    _log.error("reload_refused", problem=str(error), note="nothing was changed")


class Reloading:
    """Keeps one worker's `settings` as its files say.

    `certificate` is None where nothing listens with TLS. Without a `source`, as in `homeport dev`,
    only the files that the settings name are looked at. A process that has no such part as a
    setting is for has nothing to do with it.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source | None,
        certificate: Certificate | None,
        keyring: LiveKeyring,
        parts: Mapping[str, Part],
        clock: Clock,
    ) -> None:
        self.settings = settings
        self._source = source
        self._certificate = certificate
        self._keyring = keyring
        self.parts = {"log": lambda new: logs.set_level(new.log_level), **parts}
        self._clock = clock
        self._asked = asyncio.Event()
        self._seen: tuple[object, ...] | None = None
        # Nothing is: whoever read the settings may have done so long before this worker began.
        self._taken: tuple[object, ...] | None = None
        self._again_at = math.inf  # when what was refused is tried again, in monotonic seconds
        self._problem = ""
        self._reader = FileReader()
        self._looking = asyncio.Lock()

    @property
    def refused(self) -> bool:
        """True while the files' present content is refused, and their earlier content is in use."""
        return bool(self._problem)

    def ask(self) -> None:
        """Read everything anew at once, whether or not a file looks changed."""
        self._asked.set()

    async def run(self) -> None:
        """Look at the files, until cancelled."""
        while True:
            await self.look()
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._asked.wait()
            except TimeoutError:
                pass

    async def look(self) -> None:
        """Take up what changed, if it looks the same as the last time: by then, whatever writes two
        files, or one file slowly, is done."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        asked = self._asked.is_set()
        self._asked.clear()
        if asked:
            self._problem = ""  # who asks is told
        try:
            found = await self._reader.run(self._look_at_files)
        except FilesDoNotAnswer as error:
            self._refused(error)
        else:
            await self._consider(found, asked)
        await self._keyring.settle()

    async def _consider(self, found: tuple[object, ...], asked: bool) -> None:
        now = self._clock.steady()
        if asked or (found == self._seen and (found != self._taken or now >= self._again_at)):
            self._taken = found
            # What is wrong may be the time, or a disk, and not what stands in the files.
            self._again_at = math.inf if await self._reload() else now + AGAIN_S
        self._seen = found

    def _look_at_files(self) -> tuple[object, ...]:
        settings = self.settings
        file = None if self._source is None else self._source.file
        paths = (file, settings.tls_cert, settings.tls_key, settings.key_file)
        return tuple(_trace(path) for path in paths if path is not None)

    async def _reload(self) -> bool:
        """Read and take up; False if it was refused, which is logged once for each reason."""
        try:
            read, settings, steps = await self._reader.run(self._read)
        except (ConfigError, TLSError, KeyringError, OSError) as error:
            self._refused(error)
            return False
        self._problem = ""
        for step in steps.values():
            step()
        self.settings = settings
        # Not with what runs: its addresses are those that it got for port 0.
        first = read if self._source is None else self._source.first
        waiting = [name for name in RESTART if getattr(read, name) != getattr(first, name)]
        if waiting:
            _log.warning("restart_needed", settings=sorted(waiting), note="these did not change")
        if steps:
            _log.info("reloaded", changed=sorted(steps))
        return True

    def _refused(self, error: Exception) -> None:
        if str(error) != self._problem:
            _refuse(error)
        self._problem = str(error)

    def _read(self) -> tuple[Settings, Settings, dict[str, Callable[[], None]]]:
        """What the files say, what to go by from now on, and what is to be done for it.

        Runs in a thread, so it changes nothing.
        """
        running = self.settings
        read = running if self._source is None else self._source.read()
        changed = [name for name in LIVE if getattr(read, name) != getattr(running, name)]
        settings = merged(running, read)
        return read, settings, self._prepare(settings, {LIVE[name] for name in changed})

    def _prepare(self, settings: Settings, named: set[str]) -> dict[str, Callable[[], None]]:
        """What is to be done, by part. Everything that can go wrong does so here."""
        steps: dict[str, Callable[[], None] | None] = {
            part: partial(self.parts[part], settings) for part in named & self.parts.keys()
        }
        steps["keyring"] = self._keyring.prepare(settings.key_file)
        if self._certificate is not None and settings.tls_cert and settings.tls_key:
            now = datetime.fromtimestamp(self._clock.wall(), UTC)
            steps["certificate"] = self._certificate.prepare(
                settings.tls_cert, settings.tls_key, now
            )
        return {part: step for part, step in steps.items() if step is not None}


def _trace(path: Path) -> object:
    """What tells that a file changed, also where a link in its path leads elsewhere by now, as
    Kubernetes replaces the files of a secret; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode
