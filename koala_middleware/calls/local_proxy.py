"""`koala`: stands for the current context, as Flask's `request` stands for the current request."""

from __future__ import annotations

from werkzeug.local import LocalProxy

from koala_middleware.calls.context import KoalaContext
from koala_middleware.calls.current import current

koala: KoalaContext = LocalProxy(  # type: ignore[assignment]  # stands for the context, as its annotation says
    current,
    unbound_message=(
        "koala was used where no request is being handled, or in a request that no Koala middleware has seen. "
        "In a thread of your own, run what belongs to a request by "
        "contextvars.copy_context().run; in jobs and scripts write: "
        'with KoalaClient().person(email="ada@example.com") as koala: …'
    ),
)
