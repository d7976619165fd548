"""What anybody may know: where regions are, what codes mean, and what the API takes."""

from __future__ import annotations

from functools import lru_cache

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath

from gateway.api.answers import json_answer, services_of
from gateway.api.models import Answer
from gateway.api.problems import WORDS, Problem

router = APIRouter(tags=["about"])


class RegionView(Answer):
    """Where a region is; null where this one was not told."""

    wire: str | None
    api: str | None


class About(Answer):
    """This region, and all regions that it knows by their codes. An app's id names its region: the
    first two hex digits are the region's number."""

    region: str
    versions: list[str]
    regions: dict[str, RegionView]


class Meaning(Answer):
    """What a code of a problem means."""

    code: str
    status: int
    meaning: str


@router.get("/.well-known/homeport", response_model=About, openapi_extra={"security": []})
async def well_known(request: Request) -> Response:
    """Where the regions are."""
    homes = services_of(request).auth.homes
    known = sorted({homes.region, *homes.wires, *homes.apis})
    return json_answer(
        {
            "region": homes.region,
            "versions": ["v1"],
            "regions": {
                region: {"wire": homes.wires.get(region), "api": homes.apis.get(region)}
                for region in known
            },
        }
    )


@router.get(
    "/v1/problems/{code}",
    response_model=Meaning,
    responses={404: {"description": "No such code."}},
    openapi_extra={"security": []},
)
async def meaning(code: str = InPath(max_length=64)) -> Response:
    """What a code of a problem means."""
    word = WORDS.get(code)
    if word is None:
        raise Problem("not_found")
    return json_answer({"code": code, "status": word.status, "meaning": word.meaning})


@lru_cache(1)
def _described() -> bytes:
    from gateway.api.app import describe  # which has this module's routes

    return msgspec.json.encode(describe())


@router.get("/v1/openapi.json", include_in_schema=False)
async def described() -> Response:
    """The API's description."""
    return Response(_described(), media_type="application/json")
