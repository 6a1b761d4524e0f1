"""The first bytes of files of each kind that the Send API takes or refuses, and uploads of them."""

import struct
import zlib

from django.core.files.uploadedfile import SimpleUploadedFile


def _chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


PNG = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"\0\xff\x80\x40"))
    + _chunk(b"IEND", b"")
)
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(20)
GIF = b"GIF89a" + bytes(20)
MP4 = b"\0\0\0\x18ftypisom" + bytes(20)
MOV = b"\0\0\0\x14ftypqt  " + bytes(20)
WEBM = b"\x1a\x45\xdf\xa3" + bytes(20)
AVI = b"RIFF\0\0\0\0AVI " + bytes(20)
OGV = b"OggS" + bytes(24) + b"\x80theora" + bytes(20)
M4A = b"\0\0\0\x18ftypM4A " + bytes(20)
AAC = b"\xff\xf1" + bytes(20)
WAV = b"RIFF\0\0\0\0WAVE" + bytes(20)
PDF = b"%PDF-1.7\n" + bytes(20)

WEBP = b"RIFF\0\0\0\0WEBP" + bytes(20)
HEIC = b"\0\0\0\x18ftypheic" + bytes(20)
MP3 = b"ID3\x04" + bytes(20)
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
EXE = b"MZ" + bytes(20)


def upload(data=PNG, name="cup.png", content_type="image/png"):
    return SimpleUploadedFile(name, data, content_type)
