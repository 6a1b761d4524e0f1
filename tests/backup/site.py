"""An installation of a database and files, filled or empty, and what its commands say."""

import hashlib
import json
from pathlib import Path

from tests.rotation.databases import IS_POSTGRES, PostgreSQL, SQLite, with_tables
from tests.rotation.installation import OLD, Installation
from tests.rotation.processes import Done

from . import acts

RING = (OLD,)


class Site(Installation):
    def __init__(self, folder: Path, size: int | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.media, self.size, self.hosts = folder, folder / "media", size, {}
        self.backups = folder / "backups"
        self.database = _empty(folder) if size is None else with_tables(folder / "site.db")
        self.more = {"MEDIA_ROOT": str(self.media), "BACKUP_PASSPHRASE": None}
        if size is not None:
            done = self.run(acts.fill, size, ring=RING)
            assert done.code == 0, done.err

    def manage(self, *command: str, ring: tuple[str, ...] = RING, **how) -> Done:
        return super().manage(*command, ring=ring, **how)

    def backup(self, *options: str, **how) -> Path:
        """One that is made without trouble."""
        done = self.manage("backup", "--backup-dir", str(self.backups), "--json", *options, **how)
        assert done.code == 0, done.err
        return Path(json.loads(done.out)["path"])

    def restore(self, path: Path, *options: str, **how) -> Done:
        return self.manage("restore", str(path), *options, **how)

    def files(self) -> dict[str, str]:
        """Every file under MEDIA_ROOT, by its content's digest."""
        return {
            str(path.relative_to(self.media)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.media.rglob("*")
            if path.is_file()
        }

    def is_empty(self) -> bool:
        if isinstance(self.database, SQLite) and not self.database.path.exists():
            return not self.files()
        return not self.database.tables() and not self.files()


def _empty(folder: Path) -> SQLite | PostgreSQL:
    return PostgreSQL() if IS_POSTGRES else SQLite(folder / "site.db")
