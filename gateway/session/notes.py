"""What is noted of sessions: numbers for the metrics, and lines of the log."""

from __future__ import annotations

from typing import Final

import structlog
from homeport.codes import CloseCode

from gateway.chat.refused import Refused
from gateway.security.pseudonyms import Pseudonyms
from gateway.session.counts import TOKEN_REFUSALS, Counts
from gateway.session.handshake import BadToken
from gateway.store.endings import Cause
from gateway.store.readers import Reader

_log: Final = structlog.get_logger()


class SessionNotes:
    """One per process. Of each session: its id, and its `reader` once that is known."""

    def __init__(self, counts: Counts, names: Pseudonyms) -> None:
        self.counts = counts
        self._names = names

    def connected(self, reader: Reader, tier: str, resumed: bool) -> None:
        """The session of `reader` is live."""
        self.counts.sessions[tier] += 1
        named = self._named(reader.session, reader)
        _log.info("connected", **named, resumed=resumed, ephemeral=reader.ephemeral)

    def refused(self, session: str, reader: Reader | None, refused: Refused) -> None:
        """A request was refused."""
        self.counts.errors[refused.code.name] += 1
        named = self._named(session, reader)
        if isinstance(refused, BadToken):
            named |= self._names.fields(refused.app_id, refused.user)
        _log.info("refused", code=refused.code.name, **named)

    def token_refused(self, refused: Refused) -> None:
        """A connect or a renewal was refused, perhaps because of its token."""
        if refused.code in TOKEN_REFUSALS:
            self.counts.token_refusals[refused.code.name] += 1

    def closed(self, session: str, reader: Reader | None, code: CloseCode) -> None:
        """The gateway ends the session."""
        _log.info("closed", code=code.name, **self._named(session, reader))
        self.counts.closes[code.name] += 1

    def left(self, reader: Reader, tier: str, cause: Cause) -> None:
        """The live session of `reader` has ended."""
        self.counts.sessions[tier] -= 1
        if cause.by != "gateway":  # else `closed` was said
            named = self._named(reader.session, reader)
            _log.info("left", by=cause.by, code=cause.code, **named)

    def _named(self, session: str, reader: Reader | None) -> dict[str, str]:
        """The fields of a line in the log that say whose it is, by hashed names."""
        if reader is None:
            return {"session": session}
        return {"session": session, **self._names.fields(reader.app_id, reader.user)}
