"""Bodies that come as JSON or as a form, with files or without, and mean the same."""

import json
from typing import Annotated, Any, TypeVar

from django.http import HttpRequest, HttpResponse
from ninja import Field
from ninja.errors import ValidationError
from ninja.parser import Parser
from ninja.responses import NinjaJSONEncoder
from pydantic import BaseModel, ConfigDict
from pydantic import ValidationError as SchemaError

from . import problems
from .problems import Problem

JSON = "application/json"
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")

Body = TypeVar("Body", bound=BaseModel)
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""PostgreSQL stores no NUL."""


class Input(BaseModel):
    """What a request says. A name that is not known is refused: it may be a slip of the pen.

    Not ninja's Schema, which reads rows as well, and where it forbids names looks at each twice.
    """

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


def answer(status: int, value: Any) -> HttpResponse:
    """The answer with a model or plain values that need no more checking.

    Ninja builds the operation's model from what is returned otherwise, though it be one.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump()
    text = json.dumps(value, cls=NinjaJSONEncoder)
    return HttpResponse(text, content_type=f"{JSON}; charset=utf-8", status=status)


def documented(schema: type[BaseModel], *files: str) -> dict[str, Any]:
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
    except (ValueError, RecursionError):
        raise Problem(problems.MALFORMED, "The body is no valid JSON.") from None
    if not all(_is_storable(text) for text in _texts(value)):
        text = "A text holds a NUL, or half a surrogate pair: neither can be stored or sent."
        raise Problem(problems.MALFORMED, text)
    return value


def _form(request: HttpRequest) -> dict[str, str]:
    values = request.POST.dict()
    if not all(_is_storable(text) for text in _texts(values)):
        raise Problem(problems.MALFORMED, "The form holds a NUL, which cannot be stored or sent.")
    return values


def _is_storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # Half a surrogate pair is no character.
        return False


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
