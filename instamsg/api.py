"""The one NinjaAPI: mounts each app's router, and completes the OpenAPI document."""

from http import HTTPStatus
from typing import Any

from ninja import NinjaAPI, Swagger

import accounts.api
import accounts.key_api
import messaging.api
from accounts import problems
from accounts.api_access import BearerAuth, SessionCookie
from accounts.api_bodies import JsonParser
from accounts.models import Scope
from accounts.problems import Kind

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "description": "Which problem it is; docs/api.md lists them."},
        "title": {"type": "string", "description": "What this problem is called."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened, and what to do."},
        "instance": {"type": "string", "description": "The path that was asked."},
        "reason": {"type": "string", "description": "With 401: why."},
        "scope": {"type": "string", "description": "With 403: what the API key lacks."},
        "errors": {
            "type": "array",
            "description": "With 422: what is wrong with the input, never the input itself.",
            "items": {
                "type": "object",
                "required": ["in", "field", "message"],
                "properties": {name: {"type": "string"} for name in ("in", "field", "message")},
            },
        },
    },
}


class Docs(Swagger):
    """Swagger's stylesheet draws its arrows from data: addresses; nothing else here may."""

    def render_page(self, request, api, **kwargs):
        response = super().render_page(request, api, **kwargs)
        response._csp_update = {"img-src": ["data:"]}
        return response


class Api(NinjaAPI):
    def get_openapi_schema(self, **kwargs):
        schema = super().get_openapi_schema(**kwargs)
        schema["components"]["schemas"]["Problem"] = PROBLEM
        for path, methods in schema["paths"].items():
            for operation in methods.values():
                _declare(operation, path)
        return schema


api = Api(
    title="InstaMsg",
    version="1",
    description="Instagram messages of your accounts: read, answer, and manage who may.",
    urls_namespace="api",
    auth=[BearerAuth(Scope.MANAGE), SessionCookie()],
    docs=Docs(),
    parser=JsonParser(),
)
problems.handle(api)
api.add_router("", accounts.api.router)
api.add_router("", messaging.api.router)
api.add_router("", accounts.key_api.router)


def _declare(operation: dict[str, Any], path: str) -> None:
    """Name the operation, and declare every refusal that it may answer with."""
    operation["summary"] = operation["operationId"].replace("_", " ").capitalize()
    if scope := operation.get("x-scope"):
        description = operation.get("description", "")
        operation["description"] = f"{description}\n\nScope of the API key: `{scope}`.".strip()
    by_status: dict[int, list[Kind]] = {}
    for kind in [*_usual(operation, path), *operation.pop("x-problems", ())]:
        by_status.setdefault(kind.status, []).append(kind)
    for status, kinds in sorted(by_status.items()):
        operation["responses"][status] = {
            "description": "; ".join(kind.title for kind in kinds) + ".",
            "content": {
                problems.MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {kind.name: {"value": _example(kind, path)} for kind in kinds},
                }
            },
        } | _headers(status)


def _usual(operation: dict[str, Any], path: str) -> list[Kind]:
    kinds = [problems.MALFORMED, problems.INTERNAL, problems.UNAVAILABLE]
    if "security" in operation:
        kinds += [problems.UNAUTHENTICATED, problems.FORBIDDEN, problems.TOO_MANY_REQUESTS]
    if "{" in path:
        # What stands for a name may be a path of its own, for other methods.
        kinds += [problems.NOT_FOUND, problems.METHOD_NOT_ALLOWED]
    if "requestBody" in operation:
        kinds += [problems.LENGTH_REQUIRED, problems.TOO_LARGE, problems.UNSUPPORTED_TYPE]
    if operation["parameters"] or "requestBody" in operation:
        kinds.append(problems.INVALID)
    return kinds


def _example(kind: Kind, path: str) -> dict[str, Any]:
    return {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": problems.DETAILS.get(kind, "What happened, and what to do."),
        "instance": path,
    }


def _headers(status: int) -> dict[str, Any]:
    names = {
        HTTPStatus.UNAUTHORIZED: ["WWW-Authenticate"],
        HTTPStatus.METHOD_NOT_ALLOWED: ["Allow"],
        HTTPStatus.TOO_MANY_REQUESTS: ["Retry-After", "RateLimit", "RateLimit-Policy"],
        HTTPStatus.SERVICE_UNAVAILABLE: ["Retry-After"],
    }.get(status, [])
    headers = {name: {"schema": {"type": "string"}} for name in names}
    return {"headers": headers} if headers else {}
