"""What an exchange costs, counted rather than timed, so that a busy machine gives the same result as an idle one.

`make bench` measures it in microseconds, beside peers.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
from support import garbage
from support.counting import functions_entered

from koala_middleware.calls.context import KoalaContext
from koala_middleware.exchange import Exchange

if TYPE_CHECKING:
    from identity.conftest import Site

BROUGHT = {
    "cookie": "cart=1; ko_id=3e6a2c18-3b02-40c4-b8d2-1842c193d3ba; theme=dark",
    "sec_fetch_mode": "navigate",
}
# Each function is about 0.1 µs. A page has dozens of requests that say nothing: they may cost 2 µs in calls.
MOST_CALLS = 20


def test_an_exchange_without_calls_enters_few_functions(site: Site) -> None:
    site.get(**BROUGHT)  # first use builds what is built once

    with functions_entered() as entered:
        site.get(**BROUGHT)

    # Sent by this test's own override_settings to every living middleware.
    entered.pop("KoalaMiddleware._setting_changed", None)
    assert entered.total() <= MOST_CALLS, entered


@pytest.mark.parametrize("cookie", [BROUGHT, {}], ids=["known", "new"])
@pytest.mark.parametrize("tracks", [False, True], ids=["records nothing", "tracks"])
def test_nothing_of_an_exchange_is_left_to_the_garbage_collector(
    site: Site, cookie: dict[str, str], tracks: bool
) -> None:
    """Requests and responses that refer to each other in a cycle would stay in memory until it runs."""
    site.handler = lambda koala: koala.track("Seen") if tracks else None
    site.get(**cookie)
    garbage.from_here_on()
    gc.disable()
    try:
        for _ in range(100):
            site.get(**cookie)
        alive = _ours()
        gc.collect()
        assert alive - _ours() < 10  # one an exchange would be a hundred
    finally:
        gc.enable()


def _ours() -> int:
    # Only these: other tests' threads leave garbage in this process, too.
    return sum(issubclass(type(living), Exchange | KoalaContext) for living in gc.get_objects())
