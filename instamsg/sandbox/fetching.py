"""Fetching the files a shop sends by address, while its call waits, and judging what came."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import GraphError

MEGABYTE = 1024 * 1024
LIMITS = {"image": 8 * MEGABYTE, "video": 25 * MEGABYTE, "audio": 25 * MEGABYTE}
LIMITS["file"] = 25 * MEGABYTE
MOST = max(LIMITS.values())


class Wanted(Exception):
    """Raised by an action that holds the lock and cannot go on before these are fetched."""

    def __init__(self, urls: list[str]) -> None:
        super().__init__()
        self.urls = urls


@dataclass
class Fetched:
    """What came from an address: bytes, or nothing. `late`: still nothing when time was up."""

    content: bytes | None = None
    late: bool = False


def fetch_all(urls: Iterable[str], timeout: float) -> dict[str, Fetched]:
    """Each of them, all at once; whatever is slow is given up after `timeout` seconds in all."""
    fetched = {url: Fetched(late=True) for url in urls}
    # Threads of their own: looking up a name has no time limit where there is no network.
    threads = [
        threading.Thread(target=_fetch, args=(url, timeout, fetched), daemon=True)
        for url in fetched
    ]
    end = time.monotonic() + timeout
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    return dict(fetched)


def checked(fetched: Fetched, kind: str) -> tuple[bytes, str]:
    """The bytes and their content type; raises when they cannot be sent as `kind`."""
    if fetched.late and kind == "video":
        raise GraphError("(#100) Fetching the video took too long", 100, 2018294)
    if fetched.content is None:
        raise GraphError("(#100) Failed to fetch the file from the url", 100, 2018008)
    if len(fetched.content) > LIMITS[kind]:
        raise GraphError("(#100) Attachment size exceeds the allowed limit", 100, 2018109)
    content_type, kinds = recognised(fetched.content)
    if kind not in kinds:
        raise GraphError("(#100) Attachment type does not match the file", 100, 2018047)
    return fetched.content, content_type


def recognised(content: bytes) -> tuple[str, tuple[str, ...]]:
    """The content type the first bytes tell, and as what such a file may be sent."""
    start, inner = content[:12], content[8:12]
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png", ("image",)
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg", ("image",)
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif", ("image",)
    if start.startswith(b"%PDF-"):
        return "application/pdf", ("file",)
    if start.startswith(b"RIFF") and inner == b"WAVE":
        return "audio/wav", ("audio",)
    if start.startswith(b"RIFF") and inner == b"AVI ":
        return "video/x-msvideo", ("video",)
    if start.startswith((b"\xff\xf1", b"\xff\xf9")):
        return "audio/aac", ("audio",)
    if start.startswith(b"OggS"):
        return "video/ogg", ("video",)
    if start.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm", ("video",)
    if start[4:8] == b"ftyp" and inner in (b"M4A ", b"M4B "):
        return "audio/mp4", ("audio",)
    if start[4:8] == b"ftyp" and inner == b"qt  ":
        return "video/quicktime", ("video",)
    if start[4:8] == b"ftyp":
        return "video/mp4", ("video", "audio")
    if start[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return "video/quicktime", ("video",)
    return "application/octet-stream", ()


def _fetch(url: str, timeout: float, fetched: dict[str, Fetched]) -> None:
    try:
        asked = urllib.request.Request(url, headers={"User-Agent": "facebookexternalua"})  # noqa: S310 the opener knows http and https alone
        with _OPENER.open(asked, timeout=timeout) as answer:
            # One byte more than any limit tells that it is too much.
            fetched[url] = Fetched(answer.read(MOST + 1))
    except TimeoutError:
        fetched[url] = Fetched(late=True)
    except (OSError, ValueError, http.client.HTTPException) as error:
        late = isinstance(getattr(error, "reason", None), TimeoutError)
        fetched[url] = Fetched(late=late)


def _opener() -> urllib.request.OpenerDirector:
    """No proxy of the environment, and nothing but the web."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


_OPENER = _opener()
