"""A real PostgreSQL server on a free port, in a directory of its own, as an unprivileged user."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from support.needs import needed
from support.ports import free_port

PASSWORD = "p@ss/w:rd-of-the-tests"  # with what a URL has to quote
_QUOTED = "p%40ss%2Fw%3Ard-of-the-tests"
_SETTINGS = "fsync=off", "full_page_writes=off", "max_connections=60", "shared_buffers=64MB"
_INITIALLY = "-U", "koala", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"


@dataclass(frozen=True)
class Cluster:
    """One server, and as many databases as tests want."""

    programs: Path
    folder: Path
    port: int

    def start(self) -> None:
        options = " ".join(
            f"-c {setting}" for setting in (*_SETTINGS, f"unix_socket_directories={self.folder}")
        )
        self._control("start", "-o", f"-p {self.port} -c listen_addresses=127.0.0.1 {options}")

    def stop(self, how: str = "fast") -> None:
        """`fast` ends sessions in order, `immediate` is a crash."""
        self._control("stop", "-m", how)

    def _control(self, *arguments: str) -> None:
        command = [self.programs / "pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log", "-w"]
        ran = subprocess.run(
            [*unprivileged(), *map(str, command), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        assert ran.returncode == 0, (self.folder / "log").read_text()

    def url(self, database: str, password: str = _QUOTED) -> str:
        return f"postgresql://koala:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """An empty database's URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with self.connection("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    @contextmanager
    def connection(self, database: str) -> Iterator[psycopg.Connection]:
        """A connection beside the collectors'. `database`: a name or a URL."""
        url = database if "://" in database else self.url(database)
        with closing(
            psycopg.connect(url, autocommit=True, options="-csearch_path=koala,public")
        ) as connection:
            yield connection


def unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


@contextmanager
def cluster() -> Iterator[Cluster]:
    programs = Path(needed("initdb")).parent
    with tempfile.TemporaryDirectory(prefix="koala-postgresql-") as made:
        folder = Path(made)
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        initialise = [programs / "initdb", "-D", folder / "data", f"--pwfile={folder / 'password'}"]
        subprocess.run(
            [*unprivileged(), *map(str, initialise), *_INITIALLY], check=True, stdout=subprocess.DEVNULL
        )
        server = Cluster(programs, folder, free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
