"""The site's `on_delivery`, called so that nothing it does can stop delivery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from koala_middleware.delivery.report import DeliveryEvent
from koala_middleware.log_once import LogOnce


class Hook:
    """Called on delivery's threads, outside every lock: it may put, flush or close."""

    def __init__(self, function: Callable[..., Any] | None) -> None:
        self._function = function
        self._notices = LogOnce()

    def __bool__(self) -> bool:
        return self._function is not None

    def tell(self, event: DeliveryEvent) -> None:
        if self._function is None:
            return
        try:
            self._function(event)
        except Exception as error:  # noqa: BLE001  (it is the site's code)
            self._notices.warning("on_delivery raised; delivery goes on", error=error)
