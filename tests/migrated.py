"""Databases that have every table: copies of one that was migrated, once for each run.

`migrate` takes seconds and a copy a tenth of one. Whoever tests `migrate` itself begins without.
"""

import atexit
import os
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import psycopg

from . import environment
from .waiting import A_WHILE

ROOT = Path(__file__).parent.parent


def sqlite(path: Path, *, user: tuple[str, str] | None = None) -> str:
    """The address of a new one in the file `path`; with a `user`, it has their name and password.

    The user is a superuser, as the one is that the README makes.
    """
    shutil.copyfile(_sqlite(user), path)
    return f"sqlite:///{path}"


def postgresql(name: str, *, user: tuple[str, str] | None = None) -> str:
    """The address of a new one called `name`, as `sqlite` gives it; whoever asks drops it."""
    administer(f"CREATE DATABASE {name} TEMPLATE {_postgresql(user)}")
    return address(name)


def administer(sql: str) -> None:
    """On the server that the tests run on."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(sql)


def address(name: str) -> str:
    return f"{os.environ['DATABASE_URL'].rsplit('/', 1)[0]}/{name}"


@cache
def _sqlite(user: tuple[str, str] | None) -> Path:
    path = environment.scratch / f"migrated-{user[0] if user else 'only'}.db"
    if user:
        sqlite(path)
    _fill(f"sqlite:///{path}", user)
    return path


@cache
def _postgresql(user: tuple[str, str] | None) -> str:
    name = f"instamsg_migrated_{os.getpid()}_{time.monotonic_ns()}"
    if user:
        postgresql(name)
    else:
        administer(f"CREATE DATABASE {name}")
    atexit.register(administer, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    _fill(address(name), user)
    return name


def _fill(url: str, user: tuple[str, str] | None) -> None:
    """What the copies have in common: the tables or, where they are, the user."""
    command, given = ["migrate", "--verbosity=0"], {}
    if user:
        name, given["DJANGO_SUPERUSER_PASSWORD"] = user
        who = [f"--username={name}", f"--email={name}@shop.example"]
        command = ["createsuperuser", "--noinput", *who]
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        env=environment.child_environment(DATABASE_URL=url, **given),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=A_WHILE,
    )
    assert done.returncode == 0, done.stderr
