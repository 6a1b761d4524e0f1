"""What every page of the sandbox shares: its frame, its policy, its files, who may post to it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .wire import Request, Response, as_text

if TYPE_CHECKING:
    from .server import Sandbox

NOTHING_ALLOWED = "default-src 'none'; frame-ancestors 'none'; sandbox"

_STATIC = Path(__file__).parent / "static"
_FILES = {
    "/static/sandbox.css": "text/css; charset=utf-8",
    "/static/phone.js": "text/javascript; charset=utf-8",
}


def page(title: str, body: str, *, status: int = 200, leads_to: str = "") -> Response:
    """A whole page. `leads_to` is a URL its form may be redirected to."""
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/sandbox.css">
</head>
<body>
{body}
</body>
</html>
"""
    origin = urlsplit(leads_to)
    target = f" {origin.scheme}://{origin.netloc}" if origin.netloc else ""
    policy = (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        # The pictures a site sends come from the site, which stands on this machine too.
        "img-src 'self' data: http://127.0.0.1:* http://localhost:*; "
        "media-src 'self' http://127.0.0.1:* http://localhost:*; "
        f"form-action 'self'{target}; base-uri 'none'; frame-ancestors 'none'"
    )
    return html(text, status, {"Content-Security-Policy": policy})


def html(text: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    response = Response(status, text.encode(), "text/html; charset=utf-8", dict(headers or {}))
    response.headers["Cache-Control"] = "no-store"
    return response


def asset(path: str) -> Response:
    if path not in _FILES:
        return as_text("Not found.", 404)
    content = (_STATIC / path.rpartition("/")[2]).read_bytes()
    return Response(200, content, _FILES[path], {"Cache-Control": "no-cache"})


def is_from_own_page(sandbox: Sandbox, request: Request) -> bool:
    """Whether a form post comes from one of our pages, or from no browser at all.

    Every browser names the page a post comes from, so another web page cannot drive ours.
    """
    origin = request.headers.get("Origin")
    if origin is not None:
        return origin in (sandbox.url, f"http://localhost:{sandbox.port}")
    return request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"


def refusal(sandbox: Sandbox, message: str, status: int = 403) -> Response:
    site = escape(sandbox.site or "/phone/")
    body = f"""<main class="card">
<p class="brand">Sandbox</p>
<h1>This did not work</h1>
<p>{escape(message)}</p>
<p><a href="{site}">Back</a></p>
</main>"""
    return page("Sandbox", body, status=status)


def avatar(username: str, size: int = 44) -> str:
    source = f"/profile_pic/{escape(username)}.png"
    return f'<img class="avatar" src="{source}" alt="" width="{size}" height="{size}">'


def hidden(**values: str) -> str:
    return "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in values.items()
    )


def host(address: str) -> str:
    """What of an address a person reads."""
    return address.split("//")[-1].strip("/")
