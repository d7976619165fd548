"""The application: its routes, how they refuse, and its description."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import Scope

from gateway import __version__
from gateway.api import problems
from gateway.api.front import Front
from gateway.api.problems import Problem
from gateway.api.routes import about, messages
from gateway.api.services import Services
from gateway.chat.refused import FAULTS, Refused, refusal

DESCRIPTION: Final = """\
For apps' back ends. Every request shows a key, `Authorization: Bearer hpk_…`, or a token of the app
whose audience is `homeport:<region>:rest`. What is refused is a problem (RFC 9457), whose `code` is
a word of SPEC.md section 8.4 or of `/v1/problems/`. Times are milliseconds since 1970."""

_ROUTERS: Final = (messages.router, about.router)


def application(services: Services | None = None) -> FastAPI:
    """The routes alone; without `services` only to be described."""
    app = FastAPI(
        title="Homeport",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(Problem, _problem)
    for fault in (Refused, *FAULTS):
        app.add_exception_handler(fault, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    return app


def front(services: Services) -> Front:
    """All of it."""
    at_once = {("POST", "/v1/messages"): partial(messages.send_at_once, services)}
    region = services.auth.homes.region
    return Front(application(services), services.auth, region, allowed, at_once)


def allowed(scope: Scope) -> set[str]:
    """The methods that a path takes; none where there is nothing."""
    found: set[str] = set()
    for route in (each for router in _ROUTERS for each in router.routes):
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            found |= route.methods or set()
    if "GET" in found:
        found.add("HEAD")
    return found | {"OPTIONS"} if found else found


def describe() -> dict[str, Any]:
    """The API's description, OpenAPI 3.1; `protocol/openapi.json` holds it."""
    described = application().openapi()
    described["components"].setdefault("securitySchemes", {})["key"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`homeport key create`), or a token of the app.",
    }
    described["security"] = [{"key": []}]
    return described


def _answer(request: Request, problem: Problem) -> Response:
    request_id = request.scope["request_id"]
    return Response(problem.to_bytes(request_id), problem.word.status, problem.to_headers())


def _problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return _answer(request, problem)


def _refused(request: Request, error: Exception) -> Response:
    return _answer(request, Problem.of(refusal(error)))


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _answer(request, problems.of_fields(error.errors()))


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allow = ", ".join(sorted(allowed(request.scope)))
        return _answer(request, Problem("method_not_allowed", headers={"allow": allow}))
    return _answer(request, Problem("not_found" if error.status_code == 404 else "malformed"))


if __name__ == "__main__":
    import json
    import sys

    sys.stdout.write(json.dumps(describe(), indent=2, sort_keys=True) + "\n")
