"""The entry point of the `koala-middleware` command: finds the subcommand and runs it.

Each subcommand is a module with `register(subcommands)`. It imports what it needs when it runs, so that
`koala-middleware --help` works without any extra.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

# Modules that add subcommands, in the order of `--help`.
COMMANDS: tuple[str, ...] = (
    "koala_middleware.collector.command",
    "koala_middleware.cli.outbox",
    "koala_middleware.cli.relay",
    "koala_middleware.cli.erase",
)
_INTERRUPTED = 130  # what shells report for a process that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        The exit status of the process.
    """
    chosen = _parser().parse_args(arguments)
    try:
        status: int | None = chosen.run(chosen)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has ended. Python flushes stdout once more at exit: let it go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="koala-middleware", description="Know who visits: the command line of koala_middleware."
    )
    subcommands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        import_module(module).register(subcommands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
