"""`koala-middleware relay` for a durable outbox, as an operator runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from koala_middleware.cli.main import main
from koala_middleware.config.settings import KoalaConfig
from koala_middleware.delivery import Delivery
from koala_middleware.errors import KoalaConfigError
from koala_middleware.protocol.batches import Batch
from koala_middleware.testing import Collector

Deliver = Callable[..., Delivery]
MakeBatch = Callable[..., Batch]


def start_relay(outbox: Path, endpoint: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "koala_middleware.cli", "relay", "--outbox", str(outbox)]
    return subprocess.Popen(
        [*command, "--endpoint", endpoint, "--key", "pk_test", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KOALA_FLUSH_INTERVAL": "0"},
    )


def message_ids(collector: Collector) -> list[str]:
    return sorted(event["message_id"] for batch in collector.batches for event in batch.get("events", ()))


def test_once_delivers_what_waits_and_exits(outbox: Path, collector: Collector) -> None:
    main(["outbox", "retry", "--outbox", str(outbox)])
    relay = start_relay(outbox, collector.url, "--once")
    output, errors = relay.communicate(timeout=30)
    assert message_ids(collector) == ["r1", "r2", "w1", "w2", "w3"]
    assert (relay.returncode, errors) == (0, "")
    assert output == "pk_test: 5 entries delivered, 0 refused, 0 dropped\n"


def test_once_gives_up_on_a_dead_endpoint_and_says_what_still_waits(
    outbox: Path, collector: Collector
) -> None:
    collector.die()
    relay = start_relay(outbox, collector.url, "--once", "--timeout", "0.5")
    _, errors = relay.communicate(timeout=30)
    assert relay.returncode == 1
    assert "3 entries still wait: " in errors
    assert "Traceback" not in errors


def test_once_with_a_misspelled_outbox_does_not_create_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"There is no directory .*typo"):
        main(["relay", "--once", "--outbox", str(tmp_path / "typo"), "--key", "pk_test"])
    assert not (tmp_path / "typo").exists()


def test_entries_that_were_too_old_are_reported_and_the_exit_status_is_1(
    outbox: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOALA_OUTBOX_MAX_AGE", "1")
    time.sleep(1.1)  # the least age that the setting takes
    relay = start_relay(outbox, collector.url, "--once")
    output, _ = relay.communicate(timeout=30)
    assert output.startswith("pk_test: 0 entries delivered, 0 refused, 3 dropped (3 ")
    assert relay.returncode == 1


def test_a_relay_delivers_what_workers_leave_until_it_is_terminated(
    tmp_path: Path, collector: Collector, deliver: Deliver, batch: MakeBatch
) -> None:
    worker = deliver(tmp_path / "outbox", delivery="relay")
    worker.put(batch("ada", "1"))
    relay = start_relay(tmp_path / "outbox", collector.url)
    try:
        collector.wait_for(lambda _: message_ids(collector) == ["1"], timeout=20)
        worker.put(batch("ada", "2"))
        worker.put(batch("grace", "3"))
        collector.wait_for(lambda _: message_ids(collector) == ["1", "2", "3"], timeout=20)
    finally:
        relay.send_signal(signal.SIGTERM)
        _, errors = relay.communicate(timeout=20)
    assert (relay.returncode, errors) == (0, "")


def test_delivery_by_a_relay_needs_an_outbox() -> None:
    with pytest.raises(KoalaConfigError, match="outbox is missing"):
        KoalaConfig(public_api_key="pk_test", delivery="relay")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key", "pk 1"], r"^public_api_key is 'pk 1', .* Give --key or set KOALA_PUBLIC_API_KEY\.$"),
        (["--endpoint", "nowhere"], r"^endpoint is 'nowhere', .* Give --endpoint or set KOALA_ENDPOINT\.$"),
        (["--from", "redis"], r"^broker is missing, .* Give --broker or set KOALA_BROKER\.$"),
    ],
)
def test_errors_of_settings_name_the_option_and_the_variable(
    arguments: list[str], message: str, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOALA_PUBLIC_API_KEY", "pk_test")
    monkeypatch.delenv("KOALA_BROKER", raising=False)
    with pytest.raises(SystemExit, match=message):
        main(["relay", "--once", "--outbox", str(outbox), *arguments])
