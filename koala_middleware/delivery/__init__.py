"""Delivery: from a batch to the endpoint's answer, by schedule, outbox, senders and transports.

Must not know a framework or a cookie. It takes the batches of `protocol/`, and loses none.
"""

from koala_middleware.delivery.delivery import Delivery
from koala_middleware.delivery.report import DeliveryEvent, DeliveryReport, DeliveryStats, Health

__all__ = ["Delivery", "DeliveryEvent", "DeliveryReport", "DeliveryStats", "Health"]
