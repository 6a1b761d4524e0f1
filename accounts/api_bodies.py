"""Bodies that come as JSON or as a form, with files or without, and mean the same."""

import json
from typing import Annotated, Any, TypeVar

from django.http import HttpRequest
from ninja import Field, Schema
from ninja.errors import ValidationError
from ninja.parser import Parser
from pydantic import ConfigDict
from pydantic import ValidationError as SchemaError

from . import problems
from .problems import Problem

JSON = "application/json"
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")

Body = TypeVar("Body", bound=Schema)
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""PostgreSQL stores no NUL."""


class Input(Schema):
    """What a request says. A name that is not known is refused: it may be a slip of the pen."""

    model_config = ConfigDict(extra="forbid")


class JsonParser(Parser):
    """For operations that take JSON alone: refuses what says that it is something else."""

    def parse_body(self, request):
        if request.content_type != JSON:
            raise Problem(problems.UNSUPPORTED_TYPE)
        return _json(request)


def read(request: HttpRequest, schema: type[Body]) -> Body:
    """The body of `request`, as `schema` wants it. Raises Problem or ValidationError.

    Files of a form are in `request.FILES`; they are not read into memory here.
    """
    if request.content_type == JSON:
        values = _json(request)
    elif request.content_type in FORMS:
        values = _form(request)
    else:
        text = f"Send JSON (Content-Type: {JSON}) or a form ({FORMS[0]})."
        raise Problem(problems.UNSUPPORTED_TYPE, text)
    try:
        return schema.model_validate(values)
    except SchemaError as exc:
        errors = exc.errors(include_url=False, include_input=False, include_context=False)
        raise ValidationError([{**e, "loc": ("body", *e["loc"])} for e in errors]) from None


def documented(schema: type[Schema], *files: str) -> dict[str, Any]:
    """The requestBody of the OpenAPI document for what read() takes."""
    plain = schema.model_json_schema(ref_template="#/components/schemas/{model}")
    form = plain | {
        "properties": {
            **plain["properties"],
            **{name: {"type": "string", "format": "binary"} for name in files},
        }
    }
    content = {JSON: {"schema": plain}, FORMS[0]: {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def _json(request: HttpRequest) -> Any:
    try:
        value = json.loads(request.body)
        for text in _texts(value):
            text.encode()  # Half a surrogate pair is no character.
            if "\0" in text:
                raise ValueError
    except (ValueError, RecursionError):
        text = "The body is no valid JSON, or has characters that cannot be stored."
        raise Problem(problems.MALFORMED, text) from None
    return value


def _form(request: HttpRequest) -> dict[str, str]:
    values = request.POST.dict()
    if any("\0" in text for text in _texts(values)):
        raise Problem(problems.MALFORMED, "The form has characters that cannot be stored.")
    return values


def _texts(value: Any):
    """All texts and names in `value`; each costs the same, however deep it lies."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list):
            left += one
