"""Consent: what the visitor allows, by the site's own function and the browser's signal.

The exchange decides what follows for cookies and delivery. In doubt, the level is "none".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from inspect import isawaitable, iscoroutinefunction
from typing import Literal

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.errors import KoalaConfigError
from koala_middleware.log_once import LogOnce
from koala_middleware.payload.drafts import Call
from koala_middleware.protocol.subjects import Person
from koala_middleware.request.head import RequestHead

Consent = Literal["full", "anonymous", "none"]
_STRICTEST_FIRST: tuple[Consent, ...] = ("none", "anonymous", "full")

_RAISED = 'the consent function raised; the visitor counts as "none"'
_ASYNC = 'the consent function returned an awaitable and this app is not async; the visitor counts as "none"'


def require_sync(config: KoalaConfig) -> None:
    """Checks the consent function of an app that cannot await.

    Raises:
        KoalaConfigError: the consent function is async.
    """
    function = config.consent
    if iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004  (asks whether it is async, not whether it is callable)
        raise KoalaConfigError(
            "consent",
            "an async function",
            "a plain one, since this app runs under WSGI and cannot await",
            in_environment=False,
        )


def ask(config: KoalaConfig, head: RequestHead, log: LogOnce) -> Consent:
    """The level for this request, in an app that cannot await. Never raises."""
    if config.honor_gpc and head.header("sec-gpc") == "1":
        return "none"
    if config.consent is None:
        return "full"
    try:
        answer = config.consent(head)
    except Exception as error:  # noqa: BLE001  (the site's own function: whatever it raises, the request goes on)
        log.warning(_RAISED, error=error)
        return "none"
    if isawaitable(answer):
        getattr(answer, "close", lambda: None)()
        log.warning(_ASYNC)
        return "none"
    return consent_level(answer)


async def ask_async(config: KoalaConfig, head: RequestHead, log: LogOnce) -> Consent:
    """The level for this request, from a function that may be async. Never raises."""
    if config.honor_gpc and head.header("sec-gpc") == "1":
        return "none"
    if config.consent is None:
        return "full"
    try:
        answer = config.consent(head)
        return consent_level(await answer if isawaitable(answer) else answer)
    except Exception as error:  # noqa: BLE001  (the site's own function: whatever it raises, the request goes on)
        log.warning(_RAISED, error=error)
        return "none"


def permitted(calls: Sequence[Call], consent: Consent) -> Sequence[Call]:
    """The calls that may be sent."""
    match consent:
        case "full":
            return calls
        case "anonymous":
            return anonymized(calls)
        case "none":
            return ()


def anonymized(calls: Sequence[Call]) -> list[Call]:
    """Events and page views under the profile alone: no email and no traits."""
    return [
        call._replace(subject=replace(call.subject, email=None)) if isinstance(call.subject, Person) else call
        for call in calls
        if call.kind != "identify"
    ]


def consent_level(answer: object) -> Consent:
    """A consent function's answer as a level; anything unknown is "none"."""
    if answer is True or answer == "full":
        return "full"
    return "anonymous" if answer == "anonymous" else "none"


def stricter(one: Consent, other: Consent) -> Consent:
    """The one of two levels that allows less."""
    return min(one, other, key=_STRICTEST_FIRST.index)
