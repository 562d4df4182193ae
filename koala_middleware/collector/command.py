"""`koala-middleware collector`: the collector's part of the command line.

Imports the collector only when a command runs, so that `--help` works without the extra.
"""

from __future__ import annotations

import argparse
import getpass
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # argparse has no public name for what add_subparsers returns
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def register(subcommands: Subcommands) -> None:
    """Add `collector`, `collector user`, `collector export` and `collector import`."""
    parser = subcommands.add_parser(
        "collector",
        help="run the collector: receives entries, stores them and shows them",
        description="Receives batches over HTTP, works out who is who, stores them and shows them on pages.",
    )
    _add_serving(parser)
    parser.set_defaults(run=run)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_users(commands)
    _add_transfers(commands)


def _add_serving(parser: argparse.ArgumentParser) -> None:
    _add_database(parser)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=int, default=8600, help="port to listen on; 0 takes a free one (default %(default)s)")
    add("--open", action="store_true", dest="open_page", help="open the page in a browser")
    keys = "take only this public API key; repeatable (default: any)"
    add("--key", action="append", metavar="pk_…", dest="keys", help=keys)
    origins = "answer only scripts of this site, like https://www.example.com; repeatable (default: any)"
    add("--origin", action="append", metavar="URL", dest="origins", help=origins)
    add(
        "--secret-key",
        metavar="sk_…",
        help="the key that deletion requests must carry (default: they are off)",
    )
    add("--keep", metavar="LENGTH", help="how long to keep entries, like 90d, 12w or 1y (default: forever)")
    rate = "requests a second from one address, on average (default: no limit)"
    add("--address-rate", type=float, metavar="N", help=rate)
    add("--key-rate", type=float, metavar="N", help="the same for one key (default: no limit)")
    header = "the header in which a trusted proxy names the user"
    add("--login-header", metavar="NAME", help=header)


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        default="koala.db",
        metavar="WHERE",
        help="SQLite file, or postgresql://user@host/name (default %(default)s)",
    )


def _add_users(commands: Subcommands) -> None:
    parser = commands.add_parser(
        "user", help="add or remove users; with the first one the pages ask for a login"
    )
    parser.add_argument("action", choices=("add", "remove"))
    parser.add_argument("name")
    _add_database(parser)
    parser.set_defaults(run=run_user)


def _add_transfers(commands: Subcommands) -> None:
    out = commands.add_parser("export", help="write people, events or batches to a file")
    out.add_argument("what", choices=("people", "events", "batches"))
    out.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="(default %(default)s)")
    out.add_argument("--output", type=Path, metavar="FILE", help="(default: stdout)")
    _add_database(out)
    out.set_defaults(run=run_export)
    into = commands.add_parser("import", help="send batches from JSON lines to a running collector")
    into.add_argument("files", nargs="+", type=Path, metavar="FILE")
    into.add_argument("--to", default="http://127.0.0.1:8600", metavar="URL", help="(default %(default)s)")
    into.add_argument(
        "--key", default="pk_import", metavar="pk_…", help="for lines without a key (default %(default)s)"
    )
    into.set_defaults(run=run_import)


def run(arguments: argparse.Namespace) -> int:
    try:
        from koala_middleware.collector import create_app  # noqa: PLC0415  (the extra, only for who runs it)
        from koala_middleware.collector.server import serve  # noqa: PLC0415
        from koala_middleware.collector.settings import milliseconds  # noqa: PLC0415
        from koala_middleware.collector.store.opening import open_store, without_password  # noqa: PLC0415
    except ImportError as error:
        raise SystemExit(_needs(error)) from None
    with _database_errors(arguments.database):
        app = create_app(
            arguments.database,
            arguments.keys,
            origins=arguments.origins,
            secret_key=arguments.secret_key,
            keep=arguments.keep,
            address_rate=arguments.address_rate,
            key_rate=arguments.key_rate,
            login_header=arguments.login_header,
        )
        with closing(open_store(arguments.database, milliseconds(arguments.keep))) as store:
            store.prepare()  # as the app does when it starts, but here an error is one sentence
    if arguments.host not in LOOPBACK and arguments.login_header is None:
        _warn(f"Listening on {arguments.host}. Without a user, whoever reaches it sees everything:")
        _warn(f"  koala-middleware collector user add NAME --database {without_password(arguments.database)}")
    serve(app, arguments.host, arguments.port, arguments.open_page)
    return 0


def run_user(arguments: argparse.Namespace) -> int:
    from koala_middleware.collector.access.logins import add_login  # noqa: PLC0415  (see run)
    from koala_middleware.collector.store.opening import open_store  # noqa: PLC0415

    with _database_errors(arguments.database), closing(open_store(arguments.database)) as store:
        if arguments.action == "remove":
            return 0 if store.delete_login(arguments.name) else _fail(f"There is no user {arguments.name!r}.")
        password = _password()
        if not password:
            return _fail("The password is empty: nothing was changed.")
        add_login(store, arguments.name, password)
    _warn(f"{arguments.name} may log in. The pages now ask for a login.")
    return 0


@contextmanager
def _database_errors(database: str) -> Iterator[None]:
    """Errors as one sentence instead of a traceback."""
    from koala_middleware.collector.store.opening import url_scheme  # noqa: PLC0415  (see run)

    folder = Path(database).absolute().parent
    if url_scheme(database) is None and not folder.is_dir():
        raise SystemExit(f"There is no directory {folder}. Make it, or give another --database.")
    try:
        yield
    except ImportError as error:
        raise SystemExit(_needs(error, "collector,postgres")) from None
    except (RuntimeError, ValueError, OSError) as error:
        raise SystemExit(f"koala-middleware collector: {error}") from None
    except sqlite3.Error as error:
        raise SystemExit(f"SQLite cannot use {database} ({error}). Give another --database.") from None


def _password() -> str:
    """Entered twice at a terminal, or the first line of stdin."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    return password if getpass.getpass("Again: ") == password else ""


def run_export(arguments: argparse.Namespace) -> int:
    from koala_middleware.collector.store.opening import url_scheme  # noqa: PLC0415  (see run)
    from koala_middleware.collector.transfer.exporting import export  # noqa: PLC0415

    if arguments.what == "batches" and arguments.format == "csv":
        return _fail("Batches are JSON lines: leave --format csv out.")
    if url_scheme(arguments.database) is None and not Path(arguments.database).exists():
        return _fail(f"There is no database {arguments.database}.")
    with _database_errors(arguments.database):
        count = export(arguments.database, arguments.what, arguments.format, arguments.output)
    _warn(f"{count} {arguments.what} written.")
    return 0


def run_import(arguments: argparse.Namespace) -> int:
    import requests  # noqa: PLC0415  (see run)

    from koala_middleware.collector.transfer.importing import import_files  # noqa: PLC0415

    for file in arguments.files:
        if file.is_dir() or not file.exists():
            return _fail(f"There is no file {file}.")
    try:
        taken, refused = import_files(arguments.files, arguments.to, arguments.key)
    except requests.RequestException as error:
        name = type(error).__name__
        return _fail(f"No collector answers at {arguments.to} ({name}). Start it, or give another --to.")
    _warn(f"{taken} batches taken, {refused} refused.")
    return 1 if refused else 0


def _needs(error: ImportError, extras: str = "collector") -> str:
    return f"The collector needs the package {error.name}: pip install 'koala-middleware[{extras}]'"


def _warn(line: str) -> None:
    sys.stderr.write(line + "\n")


def _fail(line: str) -> int:
    _warn(line)
    return 1
