"""The files behind a customer's voice note, document and video, made here or kept beside us."""

from __future__ import annotations

import hashlib
import io
import math
import struct
import wave
from pathlib import Path

_VIDEO = Path(__file__).parent / "static" / "sample.mp4"
RATE = 8000


def video() -> bytes:
    return _VIDEO.read_bytes()


def voice(seed: str) -> bytes:
    """Three seconds of a hummed tune, as WAV."""
    digest = hashlib.sha256(seed.encode()).digest()
    notes = [220 * 2 ** ((byte % 13) / 12) for byte in digest[:6]]
    length = RATE // 2
    samples = bytearray()
    for note in notes:
        for at in range(length):
            swell = math.sin(math.pi * at / length)
            value = 9000 * swell * math.sin(2 * math.pi * note * at / RATE)
            samples += struct.pack("<h", int(value))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(bytes(samples))
    return file.getvalue()


def document(seed: str) -> bytes:
    """One page of PDF with a line on it."""
    line = f"BT /F1 24 Tf 72 760 Td (Order list {seed[-4:]}) Tj ET".encode()
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    page = (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R "
        b"/Resources << /Font << /F1 4 0 R >> >> >>"
    )
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        page,
        font,
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(line), line),
    ]
    body, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    tail = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + tail
