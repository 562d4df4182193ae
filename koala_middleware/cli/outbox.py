"""`koala-middleware outbox …` and `relay`: a durable outbox in an operator's hands.

Settings come from options, else from the environment (`KOALA_OUTBOX`, `KOALA_PUBLIC_API_KEY`,
`KOALA_ENDPOINT`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from koala_middleware.cli.progress import progress, with_progress

if TYPE_CHECKING:
    from koala_middleware.delivery.outbox.inspection import Kept

    # argparse has no public name for what add_subparsers answers
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]


def register(subcommands: Subcommands) -> None:
    _register_outbox(subcommands)
    _register_relay(subcommands)


def _register_outbox(subcommands: Subcommands) -> None:
    outbox = subcommands.add_parser(
        "outbox",
        help="look into a durable outbox: what waits, what was refused",
        description="Shows what a durable outbox holds, beside the processes that use it.",
    )
    actions = outbox.add_subparsers(title="actions", metavar="ACTION", required=True)
    about: tuple[tuple[str, Callable[[argparse.Namespace], int], str], ...] = (
        ("status", _status, "count what waits and what was refused"),
        ("list", _list, "one line for each entry"),
        ("export", _export, "write entries as JSON lines to standard output"),
        ("retry", _retry, "let refused entries wait again, for the next process or relay to deliver"),
        ("drop", _drop, "delete entries that nobody delivers"),
    )
    for name, run, help_ in about:
        action = actions.add_parser(name, help=help_, description=help_[0].upper() + help_[1:] + ".")
        action.add_argument("--outbox", metavar="DIRECTORY", help="default: $KOALA_OUTBOX")
        if name in {"list", "export", "drop"}:
            which = "which entries (default: refused)"
            action.add_argument("--which", choices=("waiting", "refused"), default="refused", help=which)
        if name == "drop":
            action.add_argument("--yes", action="store_true", help="really delete them")
        action.set_defaults(run=run)


def _register_relay(subcommands: Subcommands) -> None:
    relay = subcommands.add_parser(
        "relay",
        help="deliver a durable outbox, or what a broker holds, from a process of its own",
        description='Delivers what web workers with delivery="relay" and dead processes leave in an outbox, or '
        'what web workers with transport="kafka" or "redis" hand over.',
    )
    relay.add_argument(
        "--from",
        dest="source",
        choices=("outbox", "kafka", "redis"),
        default="outbox",
        help="what to empty: a durable outbox, or a broker that web workers hand over to",
    )
    relay.add_argument("--broker", metavar="ADDRESS", help="default: $KOALA_BROKER")
    relay.add_argument("--outbox", metavar="DIRECTORY", help="default: $KOALA_OUTBOX")
    relay.add_argument("--endpoint", metavar="URL", help="default: $KOALA_ENDPOINT")
    relay.add_argument("--key", metavar="pk_…", dest="public_api_key", help="default: $KOALA_PUBLIC_API_KEY")
    relay.add_argument("--once", action="store_true", help="deliver what is there and end")
    relay.set_defaults(run=_relay)


def _directories(arguments: argparse.Namespace) -> list[Path]:
    from koala_middleware.delivery.outbox.inspection import keys  # noqa: PLC0415  (only when it runs)

    outbox = arguments.outbox or os.environ.get("KOALA_OUTBOX", "").strip()
    if not outbox:
        raise SystemExit("Which outbox? Give --outbox DIRECTORY or set KOALA_OUTBOX.")
    if not Path(outbox).is_dir():
        raise SystemExit(f"{outbox} is no directory. Give the one that your app has as its outbox.")
    return keys(Path(outbox))


def _status(arguments: argparse.Namespace) -> int:
    from koala_middleware.delivery.outbox.inspection import status  # noqa: PLC0415

    for directory in _directories(arguments):
        found = status(directory)
        age = "" if found.oldest_age is None else f", the oldest for {found.oldest_age:.0f} s"
        print(  # noqa: T201  (a command's answer)
            f"{found.key}: {found.waiting} wait{age}; {found.refused} refused; {found.damaged} damaged; "
            f"{found.bytes} bytes; {found.living} files in use"
        )
    return 0


def _list(arguments: argparse.Namespace) -> int:
    for kept in _entries(arguments):
        entry = kept.as_json()
        whom = entry.get("email") or entry.get("profile_id") or entry.get("domain") or entry.get("account_id")
        what = entry["entry"].get("event") or entry["kind"]
        why = f"  ({entry['refused']})" if kept.reason is not None else ""
        print(f"{entry['at']:.3f}  {whom}  {what}  {entry['entry'].get('message_id', '')}{why}")  # noqa: T201
    return 0


def _export(arguments: argparse.Namespace) -> int:
    for kept in _entries(arguments):
        print(json.dumps(kept.as_json(), ensure_ascii=False))  # noqa: T201
    return 0


def _entries(arguments: argparse.Namespace) -> Iterator[Kept]:
    from koala_middleware.delivery.outbox.inspection import refused_entries, waiting_entries  # noqa: PLC0415

    read = waiting_entries if arguments.which == "waiting" else refused_entries
    for directory in _directories(arguments):
        yield from with_progress(kept for kept in read(directory) if kept is not None)


def _retry(arguments: argparse.Namespace) -> int:
    from koala_middleware.delivery.outbox.inspection import let_refused_wait_again  # noqa: PLC0415

    moved = sum(map(let_refused_wait_again, _directories(arguments)))
    print(f"{moved} entries wait again. They are delivered by the app, or by: koala-middleware relay --once")  # noqa: T201
    return 0


def _drop(arguments: argparse.Namespace) -> int:
    from koala_middleware.delivery.outbox.inspection import delete_orphans, delete_refused  # noqa: PLC0415

    if not arguments.yes:
        raise SystemExit(f"This deletes {arguments.which} entries for good. Say --yes if that is meant.")
    delete = delete_orphans if arguments.which == "waiting" else delete_refused
    print(f"{sum(map(delete, _directories(arguments)))} entries deleted.")  # noqa: T201
    return 0


def _relay(arguments: argparse.Namespace) -> int:
    if arguments.source != "outbox":
        from koala_middleware.cli.relay import relay_from_broker  # noqa: PLC0415

        return relay_from_broker(arguments)
    from koala_middleware.config.settings import KoalaConfig  # noqa: PLC0415
    from koala_middleware.delivery import Delivery  # noqa: PLC0415
    from koala_middleware.errors import KoalaConfigError  # noqa: PLC0415

    given = {name: getattr(arguments, name) for name in ("outbox", "endpoint", "public_api_key")}
    settings = {name: value for name, value in given.items() if value is not None}
    try:
        config = KoalaConfig.load({**settings, "delivery": "thread", "flush_interval": 0})
    except KoalaConfigError as error:
        raise SystemExit(str(error)) from None
    if config.outbox is None:
        raise SystemExit("Which outbox? Give --outbox DIRECTORY or set KOALA_OUTBOX.")
    delivery, ended = Delivery(config), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    delivery.adopt()
    with progress(total=delivery.stats().waiting) as advance:
        while not ended.is_set():
            advance(delivery.flush(1.0).delivered)
            if arguments.once and not delivery.stats().waiting:
                break
            ended.wait(0.2)
    report = delivery.close()
    return 0 if report.complete and not report.waiting else 1
