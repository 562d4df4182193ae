"""Keeps our own requests out of the app's tracing: no OpenTelemetry spans, no Sentry breadcrumbs.

Imports no tracing library: only one that is loaded already has to be told.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress

_TRACERS = {"opentelemetry.context", "sentry_sdk"}
_NOTHING_TO_SUPPRESS = nullcontext()


def untraced() -> AbstractContextManager[None]:
    """In this context requests are not traced."""
    # Most processes trace nothing, and an empty stack would be a tenth of a POST's time.
    return _NOTHING_TO_SUPPRESS if sys.modules.keys().isdisjoint(_TRACERS) else _suppressed()


@contextmanager
def _suppressed() -> Iterator[None]:
    with ExitStack() as stack:
        # Whatever a later version of these libraries does, delivery goes on: at worst there is a span too many.
        with suppress(Exception):
            _suppress_opentelemetry(stack)
        with suppress(Exception):
            _suppress_sentry(stack)
        yield


def _suppress_opentelemetry(stack: ExitStack) -> None:
    context = sys.modules.get("opentelemetry.context")
    if context is None:
        return
    keys = ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY")
    names = {getattr(context, key, None) for key in keys} - {None}
    current = context.get_current()
    for name in names | {"suppress_instrumentation", "suppress_http_instrumentation"}:
        current = context.set_value(name, True, current)
    stack.callback(context.detach, context.attach(current))


def _suppress_sentry(stack: ExitStack) -> None:
    sentry = sys.modules.get("sentry_sdk")
    if sentry is None:
        return
    # Breadcrumbs go to a scope of our own and vanish with it; without a transaction there are no spans.
    stack.enter_context(sentry.isolation_scope())
    sentry.get_current_scope().span = None
