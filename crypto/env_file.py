"""Changes the secrets in a `.env` file: the whole new file, or the old one untouched."""

import io
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import environ

from . import locks

NAME, FALLBACKS = "SESSION_SECRET", "SESSION_SECRET_FALLBACKS"


class EnvFileRefused(Exception):
    """The file was not changed; the text says why."""


class EnvFile:
    """A `.env` file, as its reader in the settings would understand it.

    Raises EnvFileRefused when it cannot be read.
    """

    def __init__(self, path: Path):
        self.path = Path(os.path.realpath(path))  # A link stays a link to the new file.
        try:
            # Bytes, so that every end of a line stays what it is.
            self.text = self.path.read_bytes().decode() if self.path.exists() else ""
        except (OSError, UnicodeDecodeError) as exc:
            raise EnvFileRefused(f"{path} cannot be read: {_reason(exc)}.") from None

    @property
    def secret(self) -> str | None:
        return _values(self.text).get(NAME, "").strip() or None

    @property
    def fallbacks(self) -> list[str]:
        listed = _values(self.text).get(FALLBACKS, "").split(",")
        return [one.strip() for one in listed if one.strip()]

    def require_writable(self) -> None:
        """Raise EnvFileRefused unless `write` would very likely succeed."""
        # Root could write it all the same; whoever took the right away had a reason.
        if self.path.exists() and not self.path.stat().st_mode & stat.S_IWUSR:
            raise EnvFileRefused(f"{self.path} is read-only. Nothing was changed.")
        if not os.access(self.path.parent, os.W_OK):
            raise EnvFileRefused(f"{self.path.parent} cannot be written. Nothing was changed.")
        for name in (NAME, FALLBACKS):
            if f"{name}_FILE" in _values(self.text):
                raise EnvFileRefused(
                    f"{self.path} names another file in {name}_FILE; change the secret there. "
                    "Nothing was changed."
                )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nobody else who asks likewise change the file meanwhile. Raises EnvFileRefused."""
        try:
            with locks.held(self.path.parent):  # The file itself is replaced.
                yield
        except locks.Taken:
            raise EnvFileRefused(
                f"Another rotation is switching {self.path}. Nothing was changed."
            ) from None

    def write(self, secret: str, fallbacks: list[str]) -> None:
        """Set the two variables; every other line, and the order, stay as they are.

        The file is complete on the disk before it takes the old one's place, readable by its
        owner alone. Raises EnvFileRefused.
        """
        self.require_writable()
        require_listable(fallbacks)
        text = _with(self.text, NAME, secret)
        if fallbacks or self.fallbacks:
            text = _with(text, FALLBACKS, ",".join(fallbacks))
        found = _values(text)
        if (found[NAME], found.get(FALLBACKS, "")) != (secret, ",".join(fallbacks)):
            raise EnvFileRefused(
                "The secret begins and ends with a quotation mark, which .env files cannot hold. "
                "Nothing was changed."
            )
        self.restore(text)

    def restore(self, text: str) -> None:
        """Make `text` the whole file. Raises EnvFileRefused."""
        try:
            self._replace(text)
        except OSError as exc:
            raise EnvFileRefused(
                f"{self.path} cannot be written: {_reason(exc)}. It is as it was."
            ) from None
        self.text = text

    def _replace(self, text: str) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f"{self.path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(descriptor)
            if self.path.exists() and hasattr(os, "chown"):
                owner = self.path.stat()
                os.chown(temporary, owner.st_uid, owner.st_gid)
            os.replace(temporary, self.path)
        except BaseException:  # Ctrl+C as well.
            Path(temporary).unlink(missing_ok=True)
            raise


def require_listable(secrets: list[str]) -> None:
    """Raise EnvFileRefused unless each of `secrets` could be a fallback."""
    if any("," in secret for secret in secrets):
        raise EnvFileRefused(
            f"A secret that holds a comma cannot stand in {FALLBACKS}, where commas part one from "
            "the next. Nothing was changed."
        )


def _values(text: str) -> dict[str, str]:
    class Reader(environ.Env):
        ENVIRON: dict[str, str] = {}

    Reader.read_env(io.StringIO(text))
    return Reader.ENVIRON


def _with(text: str, name: str, value: str) -> str:
    """`text` with `name` set to `value`: where it stands, else below its example, else last."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.split(end)
    active = re.compile(rf"(export )?{name}=")
    set_here = [i for i, line in enumerate(lines) if active.match(line)]
    example = [i for i, line in enumerate(lines) if re.match(rf"# ?{name}=", line)]
    if set_here:  # The last one counts.
        lines[set_here[-1]] = f"{active.match(lines[set_here[-1]])[1] or ''}{name}={value}"
        lines = [line for i, line in enumerate(lines) if i not in set_here[:-1]]
    elif example:
        lines.insert(example[-1] + 1, f"{name}={value}")
    else:
        last = len(lines) if lines[-1] else -1  # Before the end of the last line, if it has one.
        lines[last:last] = [f"{name}={value}"]
    return end.join(lines) + (end if lines[-1] else "")


def _reason(exc: Exception) -> str:
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else "it is not UTF-8 text"
