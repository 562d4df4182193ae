"""Delivery: from a batch in hand to the endpoint's answer: outbox, worker, transport.

Knows no framework and no cookie: it takes what wire.py calls a batch, and loses none.
"""

from koala_middleware.delivery.delivery import Delivery
from koala_middleware.delivery.report import DeliveryEvent, DeliveryReport, DeliveryStats, Health

__all__ = ["Delivery", "DeliveryEvent", "DeliveryReport", "DeliveryStats", "Health"]
