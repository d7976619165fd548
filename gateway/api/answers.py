"""What the routes share: who asks, what they work on, and how an answer is written."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import Request, Response

from gateway.api.auth import Caller
from gateway.api.models import ProblemBody
from gateway.api.problems import MEDIA_TYPE
from gateway.api.services import Services

_TEXTS: Final = {
    400: "The request can't be read.",
    401: "No key, or none that opens anything.",
    403: "Not allowed, or the key is not for it.",
    404: "Not there, or not this app's.",
    408: "The request did not arrive in time.",
    409: "Not as things stand.",
    413: "Too large.",
    415: "The body is not JSON.",
    421: "The app lives in another region.",
    422: "A field is wrong, or asks for what can't be.",
    429: "Too many requests; come again after Retry-After.",
    500: "A fault of the server.",
    503: "The region's store is away, or too busy; come again after Retry-After.",
}
_EVERYWHERE: Final = (400, 401, 408, 413, 415, 421, 429, 500, 503)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for its description: those that every route has, and `statuses`."""
    return {
        status: {
            "description": _TEXTS[status],
            "model": ProblemBody,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        for status in sorted({*_EVERYWHERE, *statuses})
    }


def ask(request: Request, scope: str) -> Caller:
    """The caller, who needs `scope`.

    Raises:
        Problem: scope_missing.
    """
    caller: Caller = request.scope["caller"]
    caller.needs(scope)
    return caller


def services_of(request: Request) -> Services:
    """What the routes work on."""
    services: Services = request.app.state.services
    return services


def json_answer(
    content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """An answer with a body."""
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def no_content(headers: dict[str, str] | None = None) -> Response:
    """An answer that says all there is to say."""
    return Response(status_code=204, headers=headers)
