"""Counts of what the sessions of a process have done, in plain integers.

The code that does a thing adds one. Every second the worker hands the counts to the metrics
(`gateway.runtime.measures`), so a message costs an addition and nothing else.
"""

from __future__ import annotations

from typing import Final, get_args

from homeport import codes
from homeport.frames import ClientFrame

from gateway.apps.tiers import TIERS

TOKEN_REFUSALS: Final = frozenset(
    {code for code in codes.ERRORS.values() if code.retry is codes.Retry.NEW_TOKEN}
    | {codes.UNKNOWN_APP, codes.WRONG_REGION}
)
"""The refusals that concern a token, and so the back end that made it."""

BAD_UPGRADE: Final = "bad_upgrade"
LATE_UPGRADE: Final = "late_upgrade"
"""Why a connection became no session: its opening handshake was wrong, or did not come."""


class Counts:
    """One per process. All counts only grow, except `sessions`.

    Attributes:
        sessions: live ones by the name of the tier that their app had as they connected.
        refused: connections that ended before they were sessions, by reason.
        frames: what clients sent, by the frame's class.
        accepted: sends that were answered ok.
        delivered: pushes of stored messages, to devices.
        acked: pushes that were acknowledged, notices of loss among them.
        catch_up_reads: pages read from inboxes by sessions that fell behind or missed something.
        gaps_found: times a session saw a hole in the numbers that it had not made itself.
        gaps_healed: how many of those holes were filled, reported as lost, or left to the next
            session, which reads on from its cursor.
        redeliveries: pushes of what had been stored when the device was connected before.
        slow_consumers: times a client did not read fast enough for what was sent to it.
        epoch_changes: devices that came back with a cursor of another epoch than their inbox has.
        closes: sessions that the gateway ended, by the name of the close code.
        errors: error frames that were sent, by the name of the code.
        token_refusals: refused connects and renewals, by the name of the error code.
    """

    __slots__ = (
        "accepted",
        "acked",
        "catch_up_reads",
        "closes",
        "delivered",
        "epoch_changes",
        "errors",
        "frames",
        "gaps_found",
        "gaps_healed",
        "redeliveries",
        "refused",
        "sessions",
        "slow_consumers",
        "token_refusals",
    )

    def __init__(self) -> None:
        self.sessions: dict[str, int] = dict.fromkeys(TIERS, 0)
        self.refused = dict.fromkeys((BAD_UPGRADE, LATE_UPGRADE), 0)
        self.frames: dict[type, int] = dict.fromkeys(get_args(ClientFrame), 0)
        self.accepted = 0
        self.delivered = 0
        self.acked = 0
        self.catch_up_reads = 0
        self.gaps_found = 0
        self.gaps_healed = 0
        self.redeliveries = 0
        self.slow_consumers = 0
        self.epoch_changes = 0
        self.closes = {code.name: 0 for code in codes.CLOSES.values()}
        self.errors = {code.name: 0 for code in codes.ERRORS.values()}
        self.token_refusals = {code.name: 0 for code in TOKEN_REFUSALS}
