"""Whatever dies between a web process and the endpoint: nothing is lost, and each one's order is kept."""

from __future__ import annotations

import threading

from support.chains import Chain

CUT = 3.0  # seconds; longer than any request may take here, so the web process has given up once


def test_everything_arrives_once_and_in_order(chain: Chain) -> None:
    crowd = chain.crowd("calm")
    crowd.speaks(3)
    chain.wait_for_all(crowd)
    assert not crowd.out_of_order
    assert not crowd.doubled
    assert chain.delivery.flush(20).complete
    assert chain.delivery.stats().delivered == chain.delivery.stats().accepted


def test_another_worker_takes_over_from_a_killed_one(chain: Chain) -> None:
    with chain.another_worker() as another:
        crowd = chain.crowd("kill")
        crowd.speaks(5)
        chain.wait_for_some(crowd)
        chain.worker.kill()
        crowd.speaks(2)
        chain.wait_for_all(crowd)
        assert another.end() == 0
    chain.worker.start()
    crowd.speaks(2)
    chain.wait_for_all(crowd)
    assert not crowd.out_of_order


def test_nothing_is_lost_while_the_network_is_cut(chain: Chain) -> None:
    crowd = chain.crowd("cut")
    crowd.speaks(3)
    chain.cable.cut()
    crowd.speaks(3)
    threading.Event().wait(CUT)  # the fault itself
    crowd.speaks(3)
    chain.cable.mend()
    chain.wait_for_all(crowd)
    assert not crowd.out_of_order


def test_nothing_is_lost_when_every_connection_is_reset(chain: Chain) -> None:
    crowd = chain.crowd("tear")
    crowd.speaks(3)
    chain.wait_for_some(crowd)
    chain.cable.tear()
    crowd.speaks(3)
    chain.wait_for_all(crowd)
    assert not crowd.out_of_order


def test_nothing_is_lost_when_the_broker_is_killed_and_comes_back(chain: Chain) -> None:
    crowd = chain.crowd("restart")
    crowd.speaks(3)
    chain.wait_for_some(crowd)
    chain.broker.kill()
    crowd.speaks(3)
    chain.broker.start()
    crowd.speaks(3)
    chain.wait_for_all(crowd)
    assert not crowd.out_of_order
