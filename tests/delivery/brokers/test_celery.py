"""Celery's own matters: what a worker is told, what others see, and a queue that is gone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery, signals
from celery.exceptions import Reject
from kombu import Queue
from support.batches import batch
from support.brokers import Broker
from support.chains import KINDS, Chain, chained, delivering, web_config, working
from support.crowd import Crowd
from support.waiting import until
from support.workers import celery_settings, celery_worker

from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery.outbox.inspection import keys, refused_entries
from koala_middleware.delivery.relay.celery_worker import add_task
from koala_middleware.delivery.transports.celery import TASK, CeleryTransport, queue_of
from koala_middleware.testing.collector import Answer, Collector


def ids(endpoint: Collector) -> list[str]:
    return [event["message_id"] for body in endpoint.batches for event in body["events"]]


@pytest.fixture(scope="module")
def on_redis(redis: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with chained(KINDS["Celery on Redis"], redis, tmp_path_factory.mktemp("celery")) as chain:
        yield chain


def test_on_redis_everything_arrives_once_and_in_order(on_redis: Chain) -> None:
    crowd = on_redis.crowd("calm")
    crowd.speaks(3)
    on_redis.wait_for_all(crowd)
    assert not crowd.out_of_order
    assert not crowd.doubled


def test_the_message_of_a_killed_worker_process_is_delivered_by_another(on_redis: Chain) -> None:
    on_redis.endpoint.answer(Answer(503, {"Retry-After": "5"}))
    before = len(on_redis.endpoint.received)
    on_redis.delivery.put(batch("ada", "given back"))
    until(lambda: len(on_redis.endpoint.received) > before, "the task has been told to wait")
    on_redis.worker.kill_child()
    until(lambda: "given back" in ids(on_redis.endpoint), "another process has delivered it")


def test_a_task_waits_for_the_endpoint_and_keeps_refused_entries_aside(redis: Broker, tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{redis.port}/5"
    command, environment = celery_worker(url, "away")
    with (
        Collector() as endpoint,
        delivering(web_config(tmp_path / "web", **celery_settings(url, "away"))) as delivery,
    ):
        endpoint.answer(503, 429, 400, 400)  # away twice, then all three are refused, then the first alone
        delivery.put(batch("ada", "bad", "2", "3"))
        assert delivery.flush(20).complete  # as a message of its own
        delivery.put(batch("ada", "4"))
        environment["KOALA_OUTBOX"] = str(tmp_path / "aside")
        with working((command, environment), endpoint, tmp_path / "worker.log"):
            until(lambda: len(ids(endpoint)) == 3, "what is good is delivered")
        assert ids(endpoint) == ["2", "3", "4"]
        (directory,) = keys(tmp_path / "aside")
        (kept,) = refused_entries(directory)
        assert kept.as_json()["entry"]["message_id"] == "bad"
        assert kept.reason == "HTTP 400"


def test_a_rejected_message_is_the_next_one_again(rabbit: Broker, tmp_path: Path) -> None:
    url = f"amqp://guest:guest@127.0.0.1:{rabbit.port}//"
    command, environment = celery_worker(url, "long")
    with (
        Collector() as endpoint,
        delivering(web_config(tmp_path, **celery_settings(url, "long"))) as delivery,
    ):
        endpoint.answer(*[503] * 5)  # tried for seconds
        crowd = Crowd("long", delivery, lambda: endpoint.batches, people=5)
        for _ in range(4):
            crowd.speaks(1)
            assert delivery.flush(20).complete  # as messages of their own
        environment["WAIT_LIMIT"] = "0.5"
        with working((command, environment), endpoint, tmp_path / "worker.log") as worker:
            until(lambda: not crowd.missing, "all is delivered")
            assert "rejected" in worker.log.read_text() or "Reject" in worker.log.read_text()
    assert not crowd.out_of_order


def test_a_task_that_fails_returns_its_message_to_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Celery("shop", set_as_current=False)
    relay = add_task(app, KoalaConfig(public_api_key="pk_test"))
    monkeypatch.setattr(relay, "accept", lambda *_: 1 / 0)
    with pytest.raises(Reject) as given_back:
        app.tasks[TASK]("pk_test", "{}")
    assert vars(given_back.value)["requeue"]


def test_the_workers_log_shows_a_tasks_outcome_and_no_person(on_redis: Chain) -> None:
    on_redis.delivery.put(batch("grace", "seen"))
    until(lambda: "seen" in ids(on_redis.endpoint), "it is delivered")
    until(lambda: "'1 delivered, 0 refused'" in on_redis.worker.log.read_text(), "it is said")
    assert TASK in on_redis.worker.log.read_text()
    assert "grace" not in on_redis.worker.log.read_text()


def test_a_monitor_sees_no_person(tmp_path: Path) -> None:
    """What monitors show is in the message's headers."""
    settings = {**celery_settings("memory://", "watched"), "shards": 1}
    config = web_config(tmp_path, **settings)
    transport = CeleryTransport(config)
    assert transport.send(batch("grace", "1"), 5).status == 202
    with settings["celery_app"].connection_for_write() as connection:
        queue = connection.SimpleQueue(queue_of(settings["celery_app"], config, 0))
        assert "grace" not in str(queue.get(timeout=5).headers)
        queue.close()
    transport.close()


def test_a_deleted_queue_is_declared_again_and_loses_nothing(rabbit: Broker, tmp_path: Path) -> None:
    url = f"amqp://guest:guest@127.0.0.1:{rabbit.port}//"
    settings = celery_settings(url, "gone")
    app = settings["celery_app"]
    with delivering(web_config(tmp_path, **settings)) as delivery, app.connection_for_write() as connection:
        delivery.put(batch("ada", "1"))
        assert delivery.flush(20).delivered == 1
        for shard in (0, 1):
            connection.default_channel.queue_delete(f"gone.{shard}")
        delivery.put(batch("ada", "2"))
        assert delivery.flush(20).complete
        found = [connection.SimpleQueue(queue_of(app, web_config(tmp_path, **settings), n)) for n in (0, 1)]
        assert sum(queue.qsize() for queue in found) == 1


def test_a_worker_for_our_queues_takes_one_message_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    app = Celery("shop", set_as_current=False)
    add_task(app, KoalaConfig(public_api_key="pk_test"))
    begin(app, queues="koala.0,koala.1", concurrency=None)
    assert app.conf.worker_concurrency == 1
    assert app.amqp.queues["koala.0"].queue_arguments == {"x-single-active-consumer": True}
    assert not caplog.messages
    begin(app, queues=["koala.0"], concurrency=8)
    assert "overtake" in caplog.text


def test_workers_for_other_queues_keep_their_settings() -> None:
    app = Celery("shop", set_as_current=False)
    add_task(app, KoalaConfig(public_api_key="pk_test"))
    begin(app, queues=None, concurrency=None)
    begin(app, queues="mail", concurrency=4)
    assert app.conf.worker_concurrency is None
    assert "koala.0" not in dict(app.amqp.queues)


def test_a_queue_that_the_site_defines_is_used_unchanged() -> None:
    app = Celery("shop", set_as_current=False)
    own = Queue("koala.1", queue_arguments={"x-queue-type": "quorum"})
    app.conf.task_queues = [own]
    config = KoalaConfig(public_api_key="pk_test")
    assert queue_of(app, config, 1).queue_arguments == {"x-queue-type": "quorum"}
    assert queue_of(app, config, 0).queue_arguments == {"x-single-active-consumer": True}


def begin(app: Celery, **options: object) -> None:
    """What Celery says when a worker begins."""
    signals.celeryd_init.send(sender="worker@here", instance=SimpleNamespace(app=app), options=options)


@pytest.fixture(autouse=True)
def _level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
