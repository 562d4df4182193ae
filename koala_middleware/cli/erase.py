"""`koala-middleware erase`: the client's `erase` on the command line. Settings come from the environment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from koala_middleware.rest.erasure import TIMEOUT, ErasureReport, Progress

if TYPE_CHECKING:
    # argparse has no public name for what add_subparsers answers
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]


def register(subcommands: Subcommands) -> None:
    parser = subcommands.add_parser(
        "erase",
        help="have everything deleted that is known of people, and wait for the receipt",
        description="Asks KOALA_APP_ENDPOINT, with KOALA_SECRET_API_KEY, to delete everything that is known of "
        "these people; what waits of them in KOALA_OUTBOX is purged, too. Exits with 0 when the receipts are there.",
    )
    parser.add_argument(
        "emails",
        nargs="+",
        metavar="EMAIL",
        help="whom to erase; a single - reads them from stdin, one a line",
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
    from koala_middleware.client import KoalaClient  # noqa: PLC0415  (loaded for this command alone)
    from koala_middleware.errors import KoalaError  # noqa: PLC0415

    emails = _from_stdin() if arguments.emails == ["-"] else arguments.emails
    try:
        client = KoalaClient()
        with _bar(len(emails)) as progress:
            report = client.erase(emails, timeout=arguments.timeout, progress=progress)
    except (KoalaError, ValueError) as error:
        raise SystemExit(str(error)) from None
    sys.stdout.writelines(f"{line}\n" for line in _told(report))
    return 0 if report.complete else 1


def _from_stdin() -> list[str]:
    # Arguments are seen by every user of the machine, and stay in the shell's history.
    return [email for line in sys.stdin if (email := line.strip())]


@contextmanager
def _bar(people: int) -> Iterator[Progress]:
    try:
        from tqdm import tqdm  # noqa: PLC0415  (an extra)
    except ImportError:
        raise SystemExit("The command line needs tqdm: pip install 'koala-middleware[cli]'") from None
    with tqdm(total=people, unit="person", desc="Erased", disable=None, file=sys.stderr) as bar:

        def show(erased: int, everybody: int) -> None:
            bar.total = everybody
            bar.update(erased - bar.n)

        yield show


def _told(report: ErasureReport) -> Iterator[str]:
    for receipt in report.receipts:
        yield (
            f"{receipt.email}: {receipt.events} events, {receipt.page_views} page views, "
            f"{len(receipt.profiles)} profiles deleted"
        )
    if report.purged:
        yield f"{report.purged} entries that waited in the outbox purged"
    for request in report.requests:
        if request.status != "completed":
            yield (
                f"deletion request {request.id} of {len(request.emails)} people is {request.status}: it goes on "
                "without us; run this again to see its receipt"
            )
