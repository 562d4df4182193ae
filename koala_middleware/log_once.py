"""Logging without flooding: the first message of each kind is logged, all are counted.

Must not know what goes wrong. Messages hold no personal data.
"""

from __future__ import annotations

import logging
from collections import Counter

logger = logging.getLogger("koala_middleware")


class LogOnce:
    """A logger that logs each message once.

    Args:
        silent: Count only; for clients that are switched off.
    Attributes:
        counts: How often each message was given.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self.counts: Counter[str] = Counter()

    def warning(self, message: str, error: BaseException | None = None) -> None:
        """Log a warning if it is new.

        Args:
            message: A whole sentence, always the same for the same kind of problem.
            error: Its type and place are logged, never its message: that may repeat a visitor's data.
        """
        self._log(logging.WARNING, message, error)

    def error(self, message: str, error: BaseException | None = None) -> None:
        """Log an error if it is new. Arguments as for `warning`."""
        self._log(logging.ERROR, message, error)

    def _log(self, level: int, message: str, error: BaseException | None) -> None:
        self.counts[message] += 1
        if self.counts[message] == 1 and not self._silent:
            logger.log(level, "%s%s (logged once)", message, f" [{_place(error)}]" if error else "")


def _place(error: BaseException) -> str:
    """The error's type and the line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" in {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return type(error).__name__ + where
