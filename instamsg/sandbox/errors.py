"""How the platform says no: the Graph envelope, and the older one of the OAuth host."""

from __future__ import annotations

from typing import Any

from . import ids
from .wire import Response, as_json


class GraphError(Exception):
    def __init__(
        self,
        message: str,
        code: int,
        subcode: int | None = None,
        *,
        http: int = 400,
        type: str = "IGApiException",
        more: dict[str, Any] | None = None,
    ) -> None:
        """`more` are the optional parts of the envelope, such as `is_transient`."""
        super().__init__(message)
        self.message, self.code, self.subcode = message, code, subcode
        self.http, self.type, self.more = http, type, more or {}
        self.headers: dict[str, str] = {}

    def response(self) -> Response:
        error: dict[str, Any] = {"message": self.message, "type": self.type, "code": self.code}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        error |= {**self.more, "fbtrace_id": ids.trace_id()}
        response = as_json({"error": error}, self.http)
        response.headers |= self.headers
        return response


class OAuthError(Exception):
    def response(self) -> Response:
        error = {"error_type": "OAuthException", "code": 400, "error_message": str(self)}
        return as_json(error, 400)


def unsupported(method: str) -> GraphError:
    """What an account without a role on the app gets for every call, and a wrong method too."""
    return GraphError(f"Unsupported request - method type: {method.lower()}", 100)


def no_such_object(method: str, name: str) -> GraphError:
    return GraphError(
        f"Unsupported {method.lower()} request. Object with ID '{name}' does not exist, cannot be "
        "loaded due to missing permissions, or does not support this operation",
        100,
        33,
    )


def token_trouble(message: str, subcode: int | None = None) -> GraphError:
    return GraphError(message, 190, subcode, type="OAuthException")


def invalid_message(message: str) -> GraphError:
    return GraphError(message, 100, 2534015)
