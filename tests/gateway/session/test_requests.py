"""Mirrors gateway/session/requests.py."""

from __future__ import annotations

from typing import Any

import pytest
from homeport import codes, frames
from structlog.testing import capture_logs

from gateway.security.sealing import UnknownKeyVersion
from tests.gateway.chat.grouping import created
from tests.harness import RunningWorker
from tests.inside import Inside


async def test_a_send_that_no_store_is_to_blame_for_is_in_the_log(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-4.6-1: the client is told `internal`, once. Redis' troubles are in the log as they happen;
    those of a key are told here, or nobody would look for them."""

    def broken(*_: Any) -> bytes:
        raise UnknownKeyVersion(7)

    async with running.client("alice") as alice:
        group = await created(alice, "bob")
        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(Inside(running.worker).records, "make", broken)
            answer = await alice.say(f"g:{group}", "a-secret")
        assert isinstance(answer, frames.Error)
        assert answer.code == codes.INTERNAL.number
        (told,) = [each for each in logs if each["event"] == "request_failed"]
        assert (told["log_level"], told["error"]) == ("error", "UnknownKeyVersion")
        assert "keyring" in told["problem"], "what to do about it"
        assert "a-secret" not in str(logs)
        assert isinstance(await alice.say(f"g:{group}", "again"), frames.Ok)
