"""An installation that can be put back as it was, what is in it, and what its commands say.

What is in it is found without our code: with SQL, and with Fernet on the published recipe.
"""

import json
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import pbkdf2_hmac
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from crypto.keyring import derive
from tests.environment import child_environment

from . import acts
from .broken_way import breaking_at
from .databases import IS_POSTGRES, with_tables
from .processes import Done, Host, Job

OLD = "an-0lder-secret-of-this-installation-2024"
NEW = "the-N3wer-secret-of-this-installation-2025"
OTHER = "another-S3cret-that-opens-nothing-here-99"
DOLLAR = "$HOME-is-no-variable-in-this-S3cret-2025"
BOTH = (NEW, OLD)
RINGS = [BOTH, (OLD,), (NEW,)]


def fingerprint(secret: str) -> str:
    return derive(secret).fingerprint


@cache
def fernet(secret: str) -> Fernet:
    """What any other program makes of the published recipe."""
    key = pbkdf2_hmac("sha256", secret.encode(), b"instagram-oauth-encryption-v1", 100_000, 32)
    return Fernet(urlsafe_b64encode(key))


def opens(secret: str, ciphertext: str) -> str | None:
    """The text behind `ciphertext`, or None."""
    try:
        return fernet(secret).decrypt(ciphertext).decode()
    except (InvalidToken, ValueError):
        return None


class Installation:
    """A database with `size` accounts under OLD, and processes that run on it."""

    columns = {"accounts.access_token_encrypted": "id"}
    """Each encrypted one → the key of its table."""

    def __init__(self, folder: Path, size: int, **environment: str):
        self.folder, self.size, self.hosts = folder, size, {}
        self.more = environment
        self.database = with_tables(folder / "site.db")
        self.fill()
        self.database.save()

    def fill(self) -> None:
        filled = self.run(acts.fill, self.size, ring=(OLD,))
        assert filled.code == 0, filled.err

    def close(self) -> None:
        self._close_hosts(self.hosts)
        self.database.remove()

    def restore(self) -> "Installation":
        self.database.restore()
        return self

    def close_hosts_of_one_test(self) -> None:
        """Those of an environment of its own; the ones of a ring alone serve many tests."""
        self._close_hosts([(ring, more) for ring, more in self.hosts if more])

    def _close_hosts(self, keys: Iterable[tuple]) -> None:
        for key in list(keys):
            for host in self.hosts.pop(key):
                host.close()

    # Its processes

    def environment(self, ring: tuple[str, ...] = BOTH, **more: str | None) -> dict[str, str]:
        secret, *fallbacks = ring or [None]
        given = {
            "DJANGO_SETTINGS_MODULE": "instamsg.settings",
            "DATABASE_URL": self.database.url,
            "SESSION_SECRET": secret,
            "SESSION_SECRET_FALLBACKS": ",".join(fallbacks),
        }
        return child_environment(**(given | self.more | more))

    def start(
        self,
        act: Callable[..., None],
        *args: object,
        ring: tuple[str, ...] = BOTH,
        **more: str | None,
    ) -> Job:
        hosts = self.hosts.setdefault((ring, tuple(sorted(more.items()))), [])
        host = next((host for host in hosts if host.is_free), None)
        if host is None:
            host = Host(self.environment(ring, **more), self.folder)
            hosts.append(host)
        return host.start(act, *args)

    def run(self, act: Callable[..., None], *args: object, **how) -> Done:
        return self.start(act, *args, **how).wait()

    def manage(self, *command: str, **how) -> Done:
        return self.run(acts.manage, *command, **how)

    def rotate(self, *options: str, **how) -> Done:
        return self.manage("rotate_secret", "--no-backup", *options, **how)

    # What is in it

    def execute(self, sql: str, *values: object) -> list[tuple]:
        with self.database.connected() as connection:
            return self.database.execute(connection, sql, *values)

    @contextmanager
    def writing(self, sql: str = "", *values: object) -> Iterator[None]:
        """Somebody else's transaction, which has changed a row and is not at its end."""
        sql = sql or "UPDATE accounts SET name = 'Written meanwhile' WHERE username = 'shop.1'"
        with self.database.connected() as connection:
            self.database.execute(connection, "BEGIN IMMEDIATE" if not IS_POSTGRES else "BEGIN")
            self.database.execute(connection, sql, *values)
            yield
            self.database.execute(connection, "COMMIT")

    def breaking_at(self, word: str, **how: bool):
        """Gives the address of a way to the server that breaks at `word`; see broken_way."""
        return breaking_at(self.database.url, word, **how)

    def values(self, column: str = "accounts.access_token_encrypted") -> dict[str, str]:
        table, name = column.split(".")
        key = self.columns[column]
        rows = self.execute(f'SELECT {key}, "{name}" FROM {table} WHERE "{name}" IS NOT NULL')
        # SQLite holds a UUID without its dashes.
        return {str(pk).replace("-", ""): value for pk, value in rows}

    def write(self, number: int, ciphertext: str) -> str:
        """Put `ciphertext` into the row of an account, as somebody with SQL would."""
        (is_there,) = self.execute(
            "UPDATE accounts SET access_token_encrypted = ? WHERE username = ? RETURNING id",
            ciphertext,
            f"shop.{number}",
        )
        return is_there[0]

    def dump(self) -> dict[str, list[str]]:
        """Every row of every table."""
        tables = self.database.tables()
        with self.database.connected() as connection:
            return {
                table: sorted(
                    map(repr, self.database.execute(connection, f"SELECT * FROM {table}"))
                )
                for table in tables
            }

    def tokens_under(self, secret: str) -> dict[str, str]:
        """Username → token, of those that `secret` alone opens."""
        names = dict(self.execute("SELECT id, username FROM accounts"))
        opened = {names[pk]: opens(secret, value) for pk, value in self.values().items()}
        return {name: token for name, token in opened.items() if token is not None}

    @property
    def all_tokens(self) -> dict[str, str]:
        """As `tokens_under` gives them while nothing has changed."""
        return {f"shop.{n}": acts.TOKEN.format(n) for n in range(self.size)}

    @property
    def current(self) -> str | None:
        """The secret that the registry names, and proves by its sentinel."""
        rows = self.execute("SELECT fingerprint, sentinel FROM secrets WHERE is_current")
        if not rows:
            return None
        ((name, sentinel),) = rows
        (secret,) = [one for one in (OLD, NEW, OTHER, DOLLAR) if fingerprint(one) == name]
        assert opens(secret, sentinel)
        return secret


def is_under(installation: Installation, secret: str) -> bool:
    """All of it, and the registry says so; fails when it is neither all nor nothing."""
    found = installation.tokens_under(secret)
    if not found:
        assert installation.current != secret
        return False
    assert found == installation.all_tokens
    assert installation.current == secret
    return True


def look(installation: Installation, *rings: tuple[str, ...]) -> list[dict]:
    """What check_secret says under each ring is what is found without our code."""
    return [_look(installation, ring) for ring in rings or RINGS]


def _look(installation: Installation, ring: tuple[str, ...]) -> dict:
    done = installation.manage("check_secret", "--json", ring=ring)
    assert done.out, done.err
    said = json.loads(done.out)
    fallbacks = {fingerprint(secret) for secret in ring[1:]}
    current = installation.current and fingerprint(installation.current)
    in_use, closed = fallbacks & {current}, set()
    for column in installation.columns:
        counted = Counter()
        for pk, value in installation.values(column).items():
            by = next((secret for secret in ring if opens(secret, value) is not None), None)
            if by is None:
                closed.add(pk)
            else:
                counted[fingerprint(by)] += 1
        assert said["columns"][column] == dict(counted)
        in_use |= fallbacks & counted.keys()
    assert said["current"] == current
    assert said["unreadable_count"] == len(closed) == len(said["unreadable"])
    # "account acc_000000000001 @shop.1", with the reason beside it.
    named = {one["name"].split()[-2].replace("-", "") for one in said["unreadable"]}
    assert named == closed
    assert all(one["reason"] for one in said["unreadable"])
    assert set(said["fallbacks_in_use"]) == in_use
    assert done.code == (4 if closed else 3 if in_use else 0), done
    return said
