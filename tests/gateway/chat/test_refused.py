"""Mirrors gateway/chat/refused.py: what a client is told of an error from below."""

from __future__ import annotations

import pytest
from homeport import codes

from gateway.apps.errors import AppError
from gateway.chat.refused import refusal
from gateway.redis.errors import (
    CommandFault,
    MissingRights,
    OperationFailed,
    RedisRefused,
    Unavailable,
)
from gateway.security.sealing import Tampered
from gateway.store.blocks import TooManyBlocks
from gateway.store.errors import AppNotFound
from gateway.store.presence import TooManySubscriptions
from gateway.store.readers import TokenRevoked, TooManyDevices
from gateway.store.rooms import RoomRefused


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("away", retry_after=2.5), codes.UNAVAILABLE),
        (MissingRights("gateway", "XADD"), codes.UNAVAILABLE),
        (AppNotFound("sg-x"), codes.UNKNOWN_APP),
        (CommandFault("WRONGTYPE"), codes.INTERNAL),
        (RedisRefused("redis:6379", "no"), codes.INTERNAL),
        (RoomRefused("not_in_room"), codes.NOT_IN_ROOM),
        (RoomRefused("room_read_only"), codes.ROOM_READ_ONLY),
        (RoomRefused("not_room_creator"), codes.NOT_ROOM_CREATOR),
        (TooManyBlocks(), codes.TOO_MANY_BLOCKS),
        (TooManySubscriptions(), codes.TOO_MANY_SUBSCRIPTIONS),
        (TooManyDevices(), codes.TOO_MANY_DEVICES),
        (TokenRevoked(), codes.TOKEN_REVOKED),
        (Tampered(), codes.INTERNAL),
        (AppError(), codes.INTERNAL),
    ],
    ids=lambda each: type(each).__name__,
)
def test_each_error_has_one_code(
    error: OperationFailed | Tampered | AppError, code: codes.ErrorCode
) -> None:
    """HP-4.6-1: whichever request met it; this is the only table from errors to codes."""
    refused = refusal(error)
    assert refused.code is code
    assert (refused.retry_after is not None) == (code in (codes.UNAVAILABLE, codes.INTERNAL))


def test_a_refusal_tells_no_secret_and_when_to_come_again() -> None:
    """The time is the store's own; the place and words of Redis are for the log only."""
    assert refusal(Unavailable("away", retry_after=2.5)).retry_after == 2.5
    assert "redis" not in str(refusal(RedisRefused("redis:6379", "no"))).lower()
