"""Pictures: drawn by arithmetic, served as the platform's CDN serves what customers send."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import zlib
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from . import samples
from .wire import Request, Response, as_text

if TYPE_CHECKING:
    from .server import Sandbox

CDN_PATH = "/ig_messaging_cdn/"


# What an address without bytes of its own stands for, by how its number begins.
SAMPLES = {"image": "17997", "video": "17996", "audio": "17995", "file": "17994"}
# How the numbers of files begin that a shop sent.
KEPT = "17993"


def sample(sandbox: Sandbox, kind: str) -> str:
    """The address of a picture, video, voice note or document nobody has sent before."""
    number = int(SAMPLES[kind]) * 10**12 + sandbox.world.next_number()
    return _address(sandbox, str(number))


def upload(sandbox: Sandbox, content: bytes, content_type: str) -> str:
    """Keep these bytes and give the address a customer's attachment would carry."""
    asset_id = f"{17998000000000000 + sandbox.world.next_number()}"
    sandbox.world.assets[asset_id] = {
        "content_type": content_type,
        "base64": base64.b64encode(content).decode(),
    }
    sandbox.world.changed()
    return _address(sandbox, asset_id)


def keep(sandbox: Sandbox, content: bytes, content_type: str) -> str:
    """Keep a file that a shop sent, as long as there is room; its address at the CDN."""
    asset_id = f"{KEPT}{sandbox.world.next_number():012d}"
    sandbox.world.files.put(asset_id, (content, content_type))
    return _address(sandbox, asset_id)


def serve(sandbox: Sandbox, request: Request) -> Response:
    asset_id = request.query.get("asset_id", "")
    signature = request.query.get("signature", "")
    if not hmac.compare_digest(signature.encode(), _signature(sandbox, asset_id).encode()):
        return as_text("URL signature mismatch", 403)
    if asset_id.startswith(KEPT):
        kept = sandbox.world.files.get(asset_id)
        return _file(*kept) if kept else as_text("This file is no longer kept.", 404)
    asset = sandbox.world.assets.get(asset_id)
    if asset:
        return _file(base64.b64decode(asset["base64"]), asset["content_type"])
    kind = next((name for name, start in SAMPLES.items() if asset_id.startswith(start)), "image")
    if kind == "video":
        return _file(samples.video(), "video/mp4")
    if kind == "audio":
        return _file(samples.voice(asset_id), "audio/wav")
    if kind == "file":
        return _file(samples.document(asset_id), "application/pdf")
    return _file(picture(asset_id, 480, 360), "image/png")


def serve_avatar(name: str) -> Response:
    return _file(picture(name, 128, 128), "image/png")


def picture(seed: str, width: int, height: int) -> bytes:
    """A PNG of a sun over a hill, its colours taken from the seed."""
    digest = hashlib.sha256(seed.encode()).digest()
    sky, ground = _colour(digest, 0, 150), _colour(digest, 3, 40)
    sun = (255, 214 - digest[6] % 60, 120 + digest[7] % 60)
    centre, radius = width * (30 + digest[8] % 40) // 100, height // 6
    rows = bytearray()
    for y in range(height):
        fade = y / height
        row = bytearray(bytes(int(c + (245 - c) * fade) for c in sky) * width)
        _stripe(row, sun, centre, radius**2 - (y - height * 0.38) ** 2)
        hill = ((y - height * 0.62) / height) * 5 * width**2 * 0.25
        _stripe(row, ground, width - centre, hill)
        rows += b"\0" + row
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _stripe(row: bytearray, colour: tuple[int, int, int], centre: int, square: float) -> None:
    """Paint the part of the row that lies within the root of `square` around the centre."""
    if square > 0:
        half = int(square**0.5)
        left, right = max(0, centre - half), min(len(row) // 3, centre + half)
        row[left * 3 : right * 3] = bytes(colour) * (right - left)


def _colour(digest: bytes, at: int, base: int) -> tuple[int, int, int]:
    red, green, blue = (base + value % 90 for value in digest[at : at + 3])
    return red, green, blue


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def _file(content: bytes, content_type: str) -> Response:
    # Bytes a test uploaded never run in the sandbox's origin.
    return Response(200, content, content_type, {"Cache-Control": "private, max-age=3600"})


def _address(sandbox: Sandbox, asset_id: str) -> str:
    query = urlencode({"asset_id": asset_id, "signature": _signature(sandbox, asset_id)})
    return f"{sandbox.url}{CDN_PATH}?{query}"


def _signature(sandbox: Sandbox, asset_id: str) -> str:
    key = f"cdn:{sandbox.app_secrets[0]}".encode()
    return "Ab" + hmac.new(key, asset_id.encode(), hashlib.sha256).hexdigest()[:40]
