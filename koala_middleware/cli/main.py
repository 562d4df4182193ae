"""The `koala-middleware` command: finds the subcommand and hands over.

Each subcommand is a module with `register(subcommands)`; it imports what it needs only when it runs, so
`koala-middleware --help` needs no extra.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

# Modules that add subcommands, in the order `--help` lists them.
COMMANDS: tuple[str, ...] = (
    "koala_middleware.collector.command",
    "koala_middleware.cli.outbox",
    "koala_middleware.cli.erase",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand. Answers the process's exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    status: int | None = chosen.run(chosen)
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="koala-middleware", description="Know who visits: the command-line side of koala_middleware."
    )
    subcommands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        import_module(module).register(subcommands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
