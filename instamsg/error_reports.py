"""Error pages and mails, which quote the request, the settings and the values of every frame."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.views.debug import ExceptionReporter

from .redaction import redact


class RedactingReporter(ExceptionReporter):
    """Error pages and mails: what they quote from frames, request and settings is redacted.

    Values are redacted before they are laid out, which may cut or wrap them within a secret;
    the rest of the page as it stands.
    """

    def get_traceback_frames(self) -> list[dict[str, Any]]:
        frames = super().get_traceback_frames()
        for frame in frames:
            frame["vars"] = self._redact_items(frame.get("vars", ()))
        return frames

    def get_traceback_data(self) -> dict[str, Any]:
        data = super().get_traceback_data()
        for name in ("request_GET_items", "filtered_POST_items", "request_COOKIES_items"):
            data[name] = self._redact_items(data.get(name, ()))
        for name in ("request_meta", "settings"):
            data[name] = dict(self._redact_items(data[name].items()))
        return data

    def get_traceback_html(self) -> str:
        return redact(super().get_traceback_html())

    def get_traceback_text(self) -> str:
        return redact(super().get_traceback_text())

    def _redact_items(self, items: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
        return [(name, self._redact_item(name, value)) for name, value in items]

    def _redact_item(self, name: str, value: Any) -> Any:
        try:
            value = self.filter.cleanse_setting(name, value)
            written = f"{name}={value!r}"
        except Exception:
            return _Written(f"({type(value).__name__} that cannot be shown)")
        redacted = redact(written)
        return value if redacted == written else _Written(redacted.removeprefix(f"{name}="))


class _Written:
    """Prints as `text`."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


class RedactDebug404:
    """Middleware: the page that DEBUG shows in place of a 404 is redacted as well."""

    def __init__(self, get_response):
        if not settings.DEBUG:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        if response.status_code == 404 and not response.streaming:
            response.content = redact(response.text)
        return response
