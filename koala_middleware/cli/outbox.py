"""`koala-middleware outbox`: shows and manages what a durable outbox holds.

The outbox comes from `--outbox`, else from `KOALA_OUTBOX`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from koala_middleware.cli.options import counted
from koala_middleware.cli.progress import with_progress

if TYPE_CHECKING:
    from koala_middleware.cli.options import Subcommands
    from koala_middleware.delivery.outbox.inspection import Kept


def register(subcommands: Subcommands) -> None:
    outbox = subcommands.add_parser(
        "outbox",
        help="show or manage what waits in a durable outbox and what was refused",
        description="Shows or manages what a durable outbox holds, while other processes use it.",
    )
    actions = outbox.add_subparsers(title="actions", metavar="ACTION", required=True)
    commands: tuple[tuple[str, Callable[[argparse.Namespace], int], str], ...] = (
        ("status", _status, "count waiting and refused entries"),
        ("list", _list, "print one line for each entry"),
        ("export", _export, "print entries as JSON lines"),
        ("retry", _retry, "let refused entries wait again, for the app or a relay to deliver"),
        ("drop", _drop, "delete entries without delivering them"),
    )
    for name, run, help_ in commands:
        action = actions.add_parser(name, help=help_, description=help_[0].upper() + help_[1:] + ".")
        action.add_argument("--outbox", metavar="DIRECTORY", help="default: $KOALA_OUTBOX")
        if name in {"list", "export", "drop"}:
            which = "which entries (default: refused)"
            action.add_argument("--which", choices=("waiting", "refused"), default="refused", help=which)
        if name == "drop":
            action.add_argument("--yes", action="store_true", help="confirm the deletion")
        action.set_defaults(run=run)


def existing_outbox(given: str | None) -> Path:
    """The directory of the outbox. Exits if it is not given, does not exist or cannot be read."""
    outbox = given or os.environ.get("KOALA_OUTBOX", "").strip()
    if not outbox:
        raise SystemExit("Which outbox? Give --outbox DIRECTORY or set KOALA_OUTBOX.")
    if not Path(outbox).is_dir():
        raise SystemExit(
            f"There is no directory {outbox}. Give the directory that your app has as its outbox."
        )
    _require_access(Path(outbox))
    return Path(outbox)


def _require_access(directory: Path) -> None:
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise SystemExit(
            f"This user must not read or change {directory}. Run the command as user {_owner(directory)}."
        )


def _owner(directory: Path) -> str:
    try:
        return directory.owner()
    except KeyError:  # an id without a name, as in containers
        return str(directory.stat().st_uid)


def _directories(arguments: argparse.Namespace) -> list[Path]:
    """The directories in the outbox, one for each public API key."""
    from koala_middleware.delivery.outbox.inspection import keys  # noqa: PLC0415  (only when a command runs)

    directories = keys(existing_outbox(arguments.outbox))
    for directory in directories:
        _require_access(directory)
    return directories


def _status(arguments: argparse.Namespace) -> int:
    from koala_middleware.delivery.outbox.inspection import status  # noqa: PLC0415

    directories = _directories(arguments)
    if not directories:
        _print("The outbox is empty.")
    for directory in directories:
        found = status(directory)
        age = "" if found.oldest_age is None else f", the oldest for {found.oldest_age:.0f} s"
        _print(
            f"{found.key}: {found.waiting} waiting{age}; {found.refused} refused; {found.damaged} damaged; "
            f"{found.bytes} bytes; {counted(found.living, 'file')} in use"
        )
    return 0


def _list(arguments: argparse.Namespace) -> int:
    for kept in _entries(arguments):
        line = kept.as_json()
        subject = line.get("email") or line.get("profile_id") or line.get("domain") or line.get("account_id")
        name = line["entry"].get("event") or line["kind"]
        reason = f"  ({line['refused']})" if kept.reason is not None else ""
        _print(f"{line['at']:.3f}  {subject}  {name}  {line['entry'].get('message_id', '')}{reason}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    for kept in _entries(arguments):
        _print(json.dumps(kept.as_json(), ensure_ascii=False))
    return 0


def _entries(arguments: argparse.Namespace) -> Iterator[Kept]:
    from koala_middleware.delivery.outbox.inspection import refused_entries, waiting_entries  # noqa: PLC0415

    read = waiting_entries if arguments.which == "waiting" else refused_entries
    for directory in _directories(arguments):
        yield from with_progress(kept for kept in read(directory) if kept is not None)


def _retry(arguments: argparse.Namespace) -> int:
    from koala_middleware.delivery.outbox.inspection import let_refused_wait_again  # noqa: PLC0415

    moved = sum(map(let_refused_wait_again, _directories(arguments)))
    if not moved:
        _print("No entries were refused.")
        return 0
    waiting = counted(moved, "entry waits", "entries wait")
    _print(f"{waiting} again, for the app or: koala-middleware relay --once")
    return 0


def _drop(arguments: argparse.Namespace) -> int:
    from koala_middleware.delivery.outbox.inspection import delete_orphans, delete_refused  # noqa: PLC0415

    if not arguments.yes:
        raise SystemExit(f"This deletes {arguments.which} entries for good. Add --yes to confirm.")
    delete = delete_orphans if arguments.which == "waiting" else delete_refused
    _print(f"{counted(sum(map(delete, _directories(arguments))), 'entry', 'entries')} deleted.")
    return 0


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
