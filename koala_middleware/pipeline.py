"""From recorded calls to batches: what consent and filters allow is encoded and put into delivery.

Must not know requests, cookies or frameworks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar
from weakref import WeakSet

from koala_middleware.calls.context import KoalaContext
from koala_middleware.calls.validation import refuse_on_commit
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.identity.consent import Consent, permitted
from koala_middleware.log_once import LogOnce
from koala_middleware.payload.drafts import Call, Draft, group_calls
from koala_middleware.payload.entries import build_batch, context_json
from koala_middleware.payload.outgoing_filter import BeforeSendError, OutgoingFilter
from koala_middleware.protocol.batches import Batch

_pipelines: WeakSet[Pipeline] = WeakSet()


class Pipeline:
    """The way of a client's calls into its delivery.

    Attributes:
        delivery_class: The testing kit replaces it by its recorder.
        enabled: False where settings turn Koala off.
        blocks: Whether handing over waits for the network (`delivery="inline"`).
        durable: Whether entries survive the death of the process once they are handed over.
        default_context: The `context` of entries recorded outside a request, as a JSON object.
    """

    delivery_class: ClassVar[type[Delivery]] = Delivery

    def __init__(self, config: KoalaConfig) -> None:
        self.config = config
        self.enabled = config.enabled
        self.blocks = config.delivery == "inline"
        self.durable = config.outbox is not None and not self.blocks
        self.delivery = self.delivery_class(config)
        self.log = LogOnce(silent=not config.enabled)
        self.filter = OutgoingFilter(config)
        self.default_context = context_json()
        _pipelines.add(self)

    def hand_over(self, context: KoalaContext) -> None:
        """Take a context's calls and deliver those that its visitor allows. Never raises."""
        self.send(group_calls(self.permitted(context._take(), context.consent_given)), self.default_context)

    def permitted(self, calls: Sequence[Call], consent: Consent) -> Sequence[Call]:
        """The calls that consent allows; the others are counted."""
        allowed = permitted(calls, consent)
        self.dropped(len(calls) - len(allowed), "consent")
        return allowed

    def send(self, written: Sequence[Draft], entry_context: str, ip: str | None = None) -> list[Draft]:
        """Encode drafts and give them to delivery. Never raises, and waits only where the pipeline blocks.

        Args:
            entry_context: The entries' `context`, as a JSON object.
            ip: The visitor's address, only where the site forwards it.
        Returns:
            The drafts that were not dropped on the way to delivery.
        """
        return [draft for draft in written if self._send(draft, entry_context, ip)]

    def _send(self, draft: Draft, entry_context: str, ip: str | None) -> bool:
        entries = len(draft.calls)
        try:
            calls = self.filter.select(draft.calls)
            self.dropped(entries - len(calls), "sampled")
            entries = len(calls)
            if not calls:
                return False
            return self._release(build_batch(draft.subject, calls, entry_context, self.filter.clean, ip))
        except Exception as error:  # noqa: BLE001  (the edge: nothing of ours may reach the host)
            self.dropped(entries, "error")
            self.log.warning("recorded calls could not be encoded and are dropped", error=error)
            return False

    def _release(self, batch: Batch) -> bool:
        """Put the batch into delivery, as far as the site's `before_send` allows."""
        try:
            released = self.filter.apply_before_send(batch)
        except BeforeSendError as error:
            self.log.warning("before_send failed; its batches are kept aside, unsent", error=error.__cause__)
            self.delivery.set_aside(batch, "before_send failed")
            return False
        if released is None:
            self.dropped(len(batch.entries), "before_send")
            return False
        self.delivery.put(released)
        return True

    def dropped(self, entries: int, reason: str) -> None:
        """Count entries that are never sent, so that stats() adds up."""
        if entries:
            self.delivery.dropped(entries, reason)

    def event_fault(self, fault: str, *, counted: bool = True) -> None:
        """An event differs from its declaration: an error with `strict_events`, else counted and logged once.

        Raises:
            ValueError: with `strict_events`.
        """
        if self.config.strict_events:
            raise ValueError(fault)
        if counted:
            self.log.warning(fault)

    def when_committed(self, action: Callable[[], None]) -> None:  # noqa: ARG002  (Django's needs it)
        """Run `action` once the database transaction is committed. Django's pipeline can."""
        refuse_on_commit()


def all_pipelines() -> list[Pipeline]:
    """Every living pipeline of this process."""
    return list(_pipelines)
