"""A broker that is not there: batches stay in the outbox, and the log says so in one line without a
password."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.brokers import Broker
from support.chains import delivering, web_config
from support.crowd import Crowd
from support.ports import free_port
from support.waiting import until
from support.workers import celery_settings

SETTINGS: dict[str, Callable[[int], dict[str, Any]]] = {
    "celery on RabbitMQ": lambda port: celery_settings(f"amqp://guest:hunter2@127.0.0.1:{port}//", "away"),
    "celery on Redis": lambda port: celery_settings(f"redis://:hunter2@127.0.0.1:{port}/0", "away"),
    "redis": lambda port: {"transport": "redis", "broker": f"redis://:hunter2@127.0.0.1:{port}/0"},
    "kafka": lambda port: {
        "transport": "kafka",
        "broker": f"127.0.0.1:{port}",
        "broker_options": {"sasl.password": "hunter2"},
    },
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_while_the_broker_is_away_batches_stay_in_the_outbox_and_no_password_is_logged(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = web_config(tmp_path, **SETTINGS[kind](free_port()))
    with delivering(config) as delivery:
        crowd = Crowd("away", delivery, list, people=3)
        crowd.speaks(2)
        until(lambda: delivery.health().state == "outage", "it is noticed")
        assert delivery.stats().waiting == 6
        assert delivery.health().reason.startswith(f"{config.transport}:{config.queue}: ")
        until(lambda: "6 entries wait" in caplog.text, "it is said")
    assert "hunter2" not in caplog.text + repr(config)
    assert len([line for line in caplog.messages if "entries wait" in line]) == 1


def test_batches_go_out_when_the_broker_is_back(redis: Broker, tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{redis.port}/3"
    redis.kill()
    config = web_config(tmp_path, transport="redis", broker=url)
    with delivering(config) as delivery:
        crowd = Crowd("back", delivery, list)
        crowd.speaks(1)
        until(lambda: delivery.health().state == "outage", "it is noticed")
        redis.start()
        until(lambda: delivery.stats().delivered == crowd.said, "the broker has it")


CLIENTS = {
    "http": {"requests"},
    "curl": {"requests", "pycurl"},  # which reads the environment's proxies for it
    "celery": {"celery", "kombu"},
    "redis": {"redis"},
    "kafka": {"confluent_kafka"},
}


@pytest.mark.parametrize("transport", CLIENTS)
def test_only_the_chosen_transport_is_loaded_and_at_the_start_of_the_app(transport: str) -> None:
    code = f"""
import sys
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery
Delivery(KoalaConfig(public_api_key="pk_test", transport={transport!r}, celery_app="proj.celery:app",
                     broker="redis://127.0.0.1/0"))
print(*sorted({set().union(*CLIENTS.values())} & set(sys.modules)))
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(finished.stdout.split()) == CLIENTS[transport]
