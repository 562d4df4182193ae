"""`koala-middleware relay --from …`, as an operator runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis
from support.brokers import Broker
from support.chains import delivering, web_config, working
from support.crowd import Crowd
from support.waiting import until
from support.workers import relay

from koala_middleware.cli.main import main
from koala_middleware.testing.collector import Answer, Collector


def test_relay_once_delivers_what_waits_and_ends(
    redis: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"redis://127.0.0.1:{redis.port}/4"
    monkeypatch.setattr("signal.signal", lambda *_: None)  # this process's own are the tests'
    monkeypatch.setenv("KOALA_QUEUE", "once")
    config = web_config(tmp_path, transport="redis", broker=url, queue="once")
    with Collector() as endpoint, delivering(config) as delivery:
        crowd = Crowd("once", delivery, lambda: endpoint.batches)
        crowd.speaks(2)
        assert delivery.flush(20).complete
        command = ["relay", "--from", "redis", "--broker", url, "--once"]
        assert main([*command, "--endpoint", endpoint.url, "--key", "pk_test"]) == 0
        assert not crowd.missing
        assert capsys.readouterr().out == "pk_test: 40 entries delivered, 0 refused, 0 dropped\n"


def test_a_relay_that_ends_during_an_outage_leaves_everything_in_the_broker(
    redis: Broker, tmp_path: Path
) -> None:
    url = f"redis://127.0.0.1:{redis.port}/6"
    config = web_config(tmp_path, transport="redis", broker=url, queue="left", shards=2)
    with Collector() as endpoint, delivering(config) as delivery:
        endpoint.answer(*[Answer(503, {"Retry-After": "300"})] * 10)
        Crowd("left", delivery, lambda: endpoint.batches, people=5).speaks(1)
        assert delivery.flush(20).complete
        with working(relay("redis", url, "left"), endpoint, tmp_path / "relay.log") as worker:
            until(lambda: endpoint.received, "it has been told to wait")
            assert worker.end() == 0
    with Redis(port=redis.port, db=6) as client:
        assert sum(client.xlen(f"left:{shard}") for shard in range(2)) == 5
        assert not client.keys("left:*lease")


@pytest.mark.parametrize("source", ["kafka", "redis"])
def test_a_missing_broker_address_is_a_clear_error(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KOALA_BROKER", raising=False)
    with pytest.raises(SystemExit, match="broker is missing"):
        main(["relay", "--from", source, "--key", "pk_test"])
