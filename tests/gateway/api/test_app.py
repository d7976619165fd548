"""The API's description, which is its reference, and what comes of requests that are made by it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from gateway.api.app import describe
from gateway.api.problems import WORDS
from tests.gateway.api.calling import Calling

FILE = Path(__file__).parents[3] / "protocol" / "openapi.json"

EXAMPLES = 40
"""Requests that are made of each operation, half of them wrong on purpose."""


def test_the_file_is_what_the_routes_say() -> None:
    """Whoever reads it, or makes a client of it, reads what runs: python -m gateway.api.app."""
    assert json.loads(FILE.read_text()) == json.loads(json.dumps(describe()))


async def test_the_running_api_serves_its_description(api: Calling) -> None:
    """To anybody, and with the meaning of each code of a problem."""
    api.http.headers["authorization"] = ""
    assert (await api.ask("GET", "/v1/openapi.json")).json() == json.loads(FILE.read_text())
    for code, word in WORDS.items():
        meaning = await api.ask("GET", f"/v1/problems/{code}")
        assert meaning.json() == {"code": code, "status": word.status, "meaning": word.meaning}
    assert (await api.ask("GET", "/v1/problems/nothing")).status_code == 404


async def test_whatever_the_description_allows_or_forbids_is_answered_by_it(api: Calling) -> None:
    """Generated requests, good and hostile: no fault of the server's, no status and no body that
    the description does not have."""
    schema = schemathesis.openapi.from_dict(describe())
    operations = [each.ok() for each in schema.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) > 5

    def ask_all() -> int:
        return sum(
            asked(operation, mode, api.url, api.key)
            for operation in operations
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        )

    assert await asyncio.to_thread(ask_all) > EXAMPLES


def asked(operation: Any, mode: GenerationMode, url: str, key: str) -> int:
    """Ask an operation with requests that it must take, or that it must refuse; returns with how
    many."""
    count = 0

    def ask(case: Any) -> None:
        nonlocal count
        count += 1
        answer = case.call(base_url=url, headers={"authorization": f"Bearer {key}"})
        assert answer.status_code < 500, answer.text
        operation.validate_response(answer)

    limits = settings(
        max_examples=EXAMPLES // 2,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    try:
        limits(given(case=operation.as_strategy(generation_mode=mode))(ask))()
    except Unsatisfiable:  # an operation that takes nothing can't be asked wrongly
        assert mode is GenerationMode.NEGATIVE
    return count
