"""`koala-middleware collector`: the collector's part of the command line.

Imports the collector only when a command runs, so that `--help` works without the extra.
"""

from __future__ import annotations

import argparse
import getpass
import os
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
# The environment, for what `ps` should not show.
DATABASE, KEYS, SECRET_KEY = "KOALA_COLLECTOR_DATABASE", "KOALA_COLLECTOR_KEYS", "KOALA_COLLECTOR_SECRET_KEY"


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
    keys = f"take only this public API key; repeatable; or ${KEYS}, separated by commas (default: any)"
    add("--key", action="append", metavar="pk_…", dest="keys", help=keys)
    origins = "answer only scripts of this site, like https://www.example.com; repeatable (default: any)"
    add("--origin", action="append", metavar="URL", dest="origins", help=origins)
    add(
        "--secret-key-file",
        type=Path,
        metavar="FILE",
        help=f"file with the key that deletion requests must carry; or ${SECRET_KEY} (default: they are off)",
    )
    add("--secret-key", metavar="sk_…", help="the same on the command line, where `ps` shows it")
    add("--keep", metavar="LENGTH", help="how long to keep entries, like 90d, 12w or 1y (default: forever)")
    rate = "requests a second from one address, on average (default: no limit)"
    add("--address-rate", type=float, metavar="N", help=rate)
    add("--key-rate", type=float, metavar="N", help="the same for one key (default: no limit)")
    add("--no-login", action="store_false", dest="login", help="open the pages to whoever reaches them")
    add("--login-header", metavar="NAME", help="the header in which a trusted proxy names the user")
    proxy = "believe X-Forwarded-For and the login header from this address or network only; repeatable"
    add("--trusted-proxy", action="append", metavar="ADDRESS", dest="trusted_proxies", help=proxy)
    host = "answer under this name, too, like collector.example.com or *; repeatable"
    add("--allowed-host", action="append", metavar="NAME", dest="allowed_hosts", help=host)


def _add_database(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get(DATABASE) or "koala.db"
    help_ = f"SQLite file, or postgresql://user@host/name; or ${DATABASE} (default koala.db)"
    parser.add_argument("--database", default=default, metavar="WHERE", help=help_)


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
        from koala_middleware.collector.access.allowed_hosts import own_names  # noqa: PLC0415
        from koala_middleware.collector.server import serve  # noqa: PLC0415
    except ImportError as error:
        raise SystemExit(_needs(error)) from None
    keys = arguments.keys or [key.strip() for key in os.environ.get(KEYS, "").split(",") if key.strip()]
    with _errors_in_words(arguments.database):
        app = create_app(
            arguments.database,
            keys,
            origins=arguments.origins,
            secret_key=_secret_key(arguments),
            keep=arguments.keep,
            address_rate=arguments.address_rate,
            key_rate=arguments.key_rate,
            login=arguments.login,
            login_header=arguments.login_header,
            trusted_proxies=arguments.trusted_proxies,
            allowed_hosts=[*own_names(arguments.host), *(arguments.allowed_hosts or ())],
        )
        _check_database(arguments)
    serve(app, arguments.host, arguments.port, arguments.open_page)
    return 0


def _secret_key(arguments: argparse.Namespace) -> str | None:
    given: str | None = arguments.secret_key
    if given is None and arguments.secret_key_file is not None:
        given = arguments.secret_key_file.read_text(encoding="utf-8").strip()
    return os.environ.get(SECRET_KEY) if given is None else given


def _check_database(arguments: argparse.Namespace) -> None:
    """Open the database as the app does when it starts, where an error can be said in one sentence.

    Beyond this machine, the pages need a user.
    """
    from koala_middleware.collector.settings import milliseconds  # noqa: PLC0415  (see run)
    from koala_middleware.collector.store.opening import open_store, without_password  # noqa: PLC0415

    with closing(open_store(arguments.database, milliseconds(arguments.keep))) as store:
        store.prepare()
        if arguments.host in LOOPBACK or not arguments.login or arguments.login_header is not None:
            return
        with store.reader() as reader:
            if reader.login_required():
                return
    database = without_password(arguments.database)
    raise SystemExit(
        f"Listening on {arguments.host} would show the pages to whoever reaches it. Add a user first: "
        f"koala-middleware collector user add NAME --database {database} (or start with --no-login)"
    )


def run_user(arguments: argparse.Namespace) -> int:
    from koala_middleware.collector.access.logins import add_login  # noqa: PLC0415  (see run)
    from koala_middleware.collector.store.opening import open_store  # noqa: PLC0415

    with _errors_in_words(arguments.database), closing(open_store(arguments.database)) as store:
        if arguments.action == "remove":
            if not store.delete_login(arguments.name):
                return _fail(f"There is no user {arguments.name!r}.")
            _warn(f"{arguments.name} is removed. The pages still ask for a login.")
            return 0
        password = _password()
        if not password:
            return _fail("The password is empty: nothing was changed.")
        add_login(store, arguments.name, password)
    _warn(f"{arguments.name} may log in. The pages now ask for a login.")
    return 0


@contextmanager
def _errors_in_words(database: str) -> Iterator[None]:
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
    with _errors_in_words(arguments.database):
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
