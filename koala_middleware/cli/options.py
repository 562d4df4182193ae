"""Settings and words that the subcommands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from koala_middleware.config.settings import KoalaConfig
    from koala_middleware.errors import KoalaConfigError

    # argparse has no public name for the return value of add_subparsers()
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]

# Options whose name is not the setting's.
_OPTIONS = {"public_api_key": "--key", "endpoint": "--endpoint", "outbox": "--outbox", "broker": "--broker"}


def load_config(arguments: argparse.Namespace, names: tuple[str, ...], **fixed: Any) -> KoalaConfig:
    """The settings: from these options, else from the environment. Exits if one is missing or malformed.

    Args:
        fixed: Settings that the command decides.
    """
    from koala_middleware.config.settings import KoalaConfig  # noqa: PLC0415  (only when a command runs)
    from koala_middleware.errors import KoalaConfigError  # noqa: PLC0415

    given = {name: getattr(arguments, name) for name in names}
    try:
        return KoalaConfig.load(
            {**{name: value for name, value in given.items() if value is not None}, **fixed}
        )
    except KoalaConfigError as error:
        exit_for(error, names)


def exit_for(error: KoalaConfigError, options: tuple[str, ...] = ()) -> NoReturn:
    """Exits with the error in the terms of the command line."""
    option = f"Give {_OPTIONS[error.setting]} or set" if error.setting in options else "Set"
    raise SystemExit(
        f"{error.setting} is {error.given}, expected {error.expected}. {option} KOALA_{error.setting.upper()}."
    ) from None


def counted(number: int, singular: str, plural: str = "") -> str:
    """`1 entry`, `2 entries`."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
