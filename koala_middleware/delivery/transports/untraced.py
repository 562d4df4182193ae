"""Keeps our own requests out of the host's tracing: no spans, no breadcrumbs, nothing that feeds back.

Only what is loaded already is asked to look away; nothing is imported for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress

_INSTRUMENTATIONS = {"opentelemetry.context", "sentry_sdk"}
_NOBODY_LOOKS = nullcontext()


def uninstrumented() -> AbstractContextManager[None]:
    # Most processes have none, and a stack of nothing would be a tenth of a POST.
    return _NOBODY_LOOKS if sys.modules.keys().isdisjoint(_INSTRUMENTATIONS) else _unseen()


@contextmanager
def _unseen() -> Iterator[None]:
    with ExitStack() as stack:
        # Whatever shape these libraries have by then, delivery goes on: the worst is one span too many.
        with suppress(Exception):
            _silence_opentelemetry(stack)
        with suppress(Exception):
            _silence_sentry(stack)
        yield


def _silence_opentelemetry(stack: ExitStack) -> None:
    context = sys.modules.get("opentelemetry.context")
    if context is None:
        return
    keys = ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY")
    names = {getattr(context, key, None) for key in keys} - {None}
    current = context.get_current()
    for name in names | {"suppress_instrumentation", "suppress_http_instrumentation"}:
        current = context.set_value(name, True, current)
    stack.callback(context.detach, context.attach(current))


def _silence_sentry(stack: ExitStack) -> None:
    sentry = sys.modules.get("sentry_sdk")
    if sentry is None:
        return
    # A scope of our own: breadcrumbs go there and vanish with it, and no transaction is there to get spans.
    stack.enter_context(sentry.isolation_scope())
    sentry.get_current_scope().span = None
