"""What is said in the log once: the first of each kind is logged, all are counted.

Knows nothing of what goes wrong, only how to say it without flooding a log. Texts hold no personal data.
"""

from __future__ import annotations

import logging
from collections import Counter

logger = logging.getLogger("koala_middleware")


class Notices:
    """The log lines of one client, each said once in its life; none where Koala is switched off."""

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self.counts: Counter[str] = Counter()

    def once(self, text: str, level: int = logging.WARNING, error: BaseException | None = None) -> None:
        """Log `text` if it is new.

        Args:
            text: A whole sentence, always the same for the same kind.
            error: Its type and place are shown, never its message: that may repeat a visitor's data.
        """
        self.counts[text] += 1
        if self.counts[text] == 1 and not self._silent:
            logger.log(level, "%s%s (said once)", text, f" [{_place(error)}]" if error else "")


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" in {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return type(error).__name__ + where
