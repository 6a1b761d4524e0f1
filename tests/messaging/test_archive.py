import io
import tarfile

import pytest

from messaging import archive

CONTENTS = {
    "manifest.json": b'{"format": 1}',
    "database.sqlite3": bytes(range(256)) * 3,
    "media/attachments/0a.jpg": b"",
    "media/attachments/0b.jpg": b"x" * archive.BLOCK,
}


def write(contents: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with archive.Writer(file, 1_800_000_000) as writer:
        for name, content in contents.items():
            writer.add(name, io.BytesIO(content), len(content))
    return file.getvalue()


@pytest.fixture(scope="module")
def whole():
    return write(CONTENTS)


def read(data: bytes) -> dict[str, bytes]:
    found = {}

    class Kept(io.BytesIO):
        def __init__(self, name: str):
            super().__init__()
            self.name = name

        def close(self) -> None:
            found[self.name] = self.getvalue()

    archive.read(io.BytesIO(data), Kept)
    return found


def test_what_was_written_is_read(whole):
    assert read(whole) == CONTENTS
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        assert tar.getnames() == [*CONTENTS, archive.SUMS]


def test_each_flipped_byte_is_named_with_the_member_that_it_is_in(whole):
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        members = tar.getmembers()
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        with pytest.raises(archive.Damaged) as caught:
            read(bytes(flipped))
        inside = [one for one in members if one.offset <= at][-1]
        is_after = at >= inside.offset_data + inside.size + -inside.size % archive.BLOCK
        if inside.offset <= at < inside.offset + archive.LONGEST:
            continue  # In the name itself.
        assert ("end" if is_after else inside.name) in str(caught.value), at


def test_a_cut_archive_is_refused_wherever_it_was_cut(whole):
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        with pytest.raises(archive.Damaged, match=r"missing|damaged"):
            read(whole[:size])


def test_bytes_behind_the_end_are_refused(whole):
    with pytest.raises(archive.Damaged, match="end of the archive"):
        read(whole + b"\0")


def test_members_that_are_missing_or_moved_are_noticed(whole):
    block = archive.BLOCK
    start = whole.index(b"media/attachments/0a.jpg")
    with pytest.raises(archive.Damaged, match=r"media/attachments/0b\.jpg"):
        read(whole[:start] + whole[start + block :])
    first, second = write({"media/a": b"1", "media/b": b"2"}), write({"media/b": b"2"})
    moved = second[: 2 * block] + first[: 2 * block] + first[4 * block :]
    with pytest.raises(archive.Damaged, match="media/b"):
        read(moved)


def test_a_file_that_is_none_is_refused():
    for data in (b"", b"SQLite format 3\0" * 100, bytes(5000)):
        with pytest.raises(archive.Damaged):
            read(data)


@pytest.mark.parametrize(
    "name",
    ["media/" + "n" * 95, "media/../.env", "/etc/passwd", "media/a\nb", "media/a\\b", "a//b"],
)
def test_names_that_an_archive_should_not_hold_are_refused(name):
    with pytest.raises(archive.NameRefused):
        write({name: b""})


def test_an_archive_of_somebody_else_leads_nowhere_else():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("media/../../outside"))
    with pytest.raises(archive.Damaged):
        read(file.getvalue())


def test_a_file_that_became_shorter_is_noticed():
    with pytest.raises(EOFError), archive.Writer(io.BytesIO(), 0) as writer:
        writer.add("media/a", io.BytesIO(b"12"), 3)
