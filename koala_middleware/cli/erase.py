"""`koala-middleware erase`: `client.erase` on the command line. Its settings come from the environment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from koala_middleware.cli.options import counted, exit_for
from koala_middleware.cli.progress import progress_bar
from koala_middleware.rest.erasure import TIMEOUT, ErasureReport, Progress

if TYPE_CHECKING:
    from koala_middleware.cli.options import Subcommands


def register(subcommands: Subcommands) -> None:
    parser = subcommands.add_parser(
        "erase",
        help="delete everything that is known about people, and wait for the receipts",
        description="Asks KOALA_APP_ENDPOINT, with KOALA_SECRET_API_KEY, to delete everything that is known about "
        "these people, and deletes their entries that wait in KOALA_OUTBOX. Exits with 0 once the receipts arrived.",
    )
    parser.add_argument(
        "emails",
        nargs="+",
        metavar="EMAIL",
        help="whom to erase; a single - reads emails from stdin, one per line",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="longest wait for the receipts (default %(default)g)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from koala_middleware.client import KoalaClient  # noqa: PLC0415  (only when the command runs)
    from koala_middleware.errors import KoalaConfigError, KoalaError  # noqa: PLC0415

    # Other users of the machine can see arguments, and the shell keeps them in its history.
    emails = _emails_from_stdin() if arguments.emails == ["-"] else arguments.emails
    try:
        client = KoalaClient()
        with _erasure_progress(len(emails)) as progress:
            report = client.erase(emails, timeout=arguments.timeout, progress=progress)
    except KoalaConfigError as error:
        exit_for(error)
    except (KoalaError, ValueError) as error:
        raise SystemExit(str(error)) from None
    sys.stdout.writelines(f"{line}\n" for line in _summary(report))
    return 0 if report.complete else 1


def _emails_from_stdin() -> list[str]:
    return [email for line in sys.stdin if (email := line.strip())]


@contextmanager
def _erasure_progress(people: int) -> Iterator[Progress]:
    with progress_bar(people, "people", "Erased") as advance:
        shown = 0

        def show(erased: int, _people: int) -> None:
            nonlocal shown
            advance(erased - shown)
            shown = erased

        yield show


def _summary(report: ErasureReport) -> Iterator[str]:
    for receipt in report.receipts:
        yield (
            f"{receipt.email}: {counted(receipt.events, 'event')}, {counted(receipt.page_views, 'page view')}, "
            f"{counted(len(receipt.profiles), 'profile')} deleted"
        )
    if report.purged:
        yield f"{counted(report.purged, 'entry', 'entries')} deleted that waited in the outbox"
    for request in report.requests:
        if request.status != "completed":
            yield (
                f"deletion request {request.id} for {counted(len(request.emails), 'person', 'people')} is "
                f"{request.status}. It continues; run this command again for the receipt"
            )
