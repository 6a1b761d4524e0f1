"""Stored files as HTTP answers: for members' browsers, which must not be led astray by them."""

import re

from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import get_conditional_response

from . import media_types

HEADERS = {
    # Whatever somebody sent: opened by itself it runs nothing, and loads nothing. The style is
    # that of the browser's own page around a picture.
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Accept-Ranges": "bytes",
}
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Part:
    """So many bytes of an open file, from where it stands."""

    def __init__(self, file, length: int):
        self.file, self.left = file, length

    def read(self, size: int) -> bytes:
        data = self.file.read(min(size, self.left))
        self.left -= len(data)
        return data

    def close(self) -> None:
        self.file.close()


def answer(
    request: HttpRequest, name: str, content_type: str, *, title: str, cache: str
) -> HttpResponseBase:
    """The stored file `name`, or the range of it that was asked for.

    Shown in place if it is a picture, sound or video, else offered for download as `title`. A
    stored name is used once, so it tells one content from another. Raises Http404.
    """
    etag = f'"{name.rpartition("/")[2].partition(".")[0]}"'
    headers = HEADERS | {"ETag": etag, "Cache-Control": cache}
    try:
        file = default_storage.open(name)
    except FileNotFoundError:
        raise Http404 from None
    if response := get_conditional_response(request, etag):  # Not modified.
        file.close()
        for header, value in headers.items():
            response.headers[header] = value
        return response
    size = file.size
    start, length, status = 0, size, 200
    asked = RANGE.fullmatch(request.headers.get("Range", ""))
    # Several ranges, or those of another content: the whole file is a right answer as well.
    if asked and request.headers.get("If-Range", etag) == etag:
        start, length = _range(*asked.groups(), size)
        if length <= 0:
            file.close()
            headers["Content-Range"] = f"bytes */{size}"
            return HttpResponse(status=416, headers=headers, content_type="text/plain")
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
        status = 206
    file.seek(start)
    response = FileResponse(
        Part(file, length),
        status=status,
        as_attachment=not media_types.is_shown(content_type),
        filename=f"{title}.{name.rpartition('.')[2]}",
        content_type=content_type,
        headers=headers,
    )
    response.headers["Content-Length"] = str(length)
    response.block_size = 64 * 1024
    if request.method == "HEAD":
        response.close()
        response.streaming_content = ()
    return response


def _range(first: str, last: str, size: int) -> tuple[int, int]:
    """Where a range begins and how long it is; not above 0 when there is no such part."""
    if not first:  # The last so many bytes.
        length = min(int(last or 0), size)
        return size - length, length
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    return start, end - start + 1
