"""What a file is, by its first bytes. What a server or a file name says of it is not believed."""

import re

UNKNOWN = ("application/octet-stream", "bin")

STARTS = [
    (b"\x89PNG\r\n\x1a\n", "image/png", "png"),
    (b"\xff\xd8\xff", "image/jpeg", "jpg"),
    (b"GIF87a", "image/gif", "gif"),
    (b"GIF89a", "image/gif", "gif"),
    (b"\x1a\x45\xdf\xa3", "video/webm", "webm"),
    (b"OggS", "audio/ogg", "ogg"),
    (b"ID3", "audio/mpeg", "mp3"),
    *((bytes([0xFF, second]), "audio/mpeg", "mp3") for second in (0xFB, 0xFA, 0xF3, 0xF2, 0xE3)),
    *((bytes([0xFF, second]), "audio/aac", "aac") for second in (0xF1, 0xF0, 0xF9, 0xF8)),
    (b"%PDF-", "application/pdf", "pdf"),
]
RIFF = {
    b"WEBP": ("image/webp", "webp"),
    b"WAVE": ("audio/wav", "wav"),
    b"AVI ": ("video/x-msvideo", "avi"),
}
FTYP = {
    b"M4A ": ("audio/mp4", "m4a"),
    b"M4B ": ("audio/mp4", "m4a"),
    b"qt  ": ("video/quicktime", "mov"),
    **dict.fromkeys((b"avif", b"avis"), ("image/avif", "avif")),
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
        ("image/heic", "heic"),
    ),
}
"""By the brand that follows `ftyp`; every other one is an MP4."""

AS_SOUND = {"video/mp4": ("audio/mp4", "m4a"), "video/webm": ("audio/webm", "weba")}
"""These hold pictures or sound alone: for a voice note, sound."""

RASTER = {"image/png", "image/jpeg", "image/gif", "image/webp"}
"""Pictures that every browser draws and that run nothing: SVG is no such picture."""

PAGE = re.compile(rb"<(?:!doctype\s+html|html|head|body|script)\b", re.IGNORECASE)


def of(data: bytes, kind: str = "") -> tuple[str, str]:
    """The content type, and the ending that a name should have; `kind` is Instagram's word."""
    found = _of(data)
    return AS_SOUND.get(found[0], found) if kind == "audio" else found


def is_page(data: bytes) -> bool:
    """Whether it is a web page, such as the one that tells that a link has expired."""
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()
    return start.startswith(b"<") and bool(PAGE.search(start))


def is_shown(content_type: str) -> bool:
    """Whether browsers may show it in place; everything else is offered for download alone."""
    return content_type in RASTER or content_type.startswith(("audio/", "video/"))


def _of(data: bytes) -> tuple[str, str]:
    if data[:4] == b"RIFF":
        return RIFF.get(data[8:12], UNKNOWN)
    if data[4:8] == b"ftyp":
        return FTYP.get(data[8:12], ("video/mp4", "mp4"))
    if data[:4] == b"OggS" and b"theora" in data[:512]:
        return "video/ogg", "ogv"
    for start, content_type, ending in STARTS:
        if data.startswith(start):
            return content_type, ending
    return UNKNOWN
