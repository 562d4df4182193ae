"""Trouble is seen: a disk that is full, a file that is damaged, what is repeated, and who sends."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from support.collecting import KEY, Running, Serve, event, on_both_stores
from support.waiting import until

BIG: dict[str, Any] = {"profile_id": "p1", "events": [event("x", properties={"a": "y" * 400_000})]}


def fill_the_disk(collector: Running, full: bool = True) -> None:
    """SQLite takes a limit of pages for a disk that is full."""

    def limit(ledger: object) -> None:
        execute = ledger.connection.execute  # type: ignore[attr-defined]  # SQLite's
        (pages,) = execute("PRAGMA page_count").fetchone()
        execute(f"PRAGMA max_page_count = {pages if full else 1_000_000}")

    collector.app.state.collector.writer.run(limit, in_transaction=False).result(10)


def test_a_full_disk_is_seen_on_health_in_the_metrics_and_once_in_the_log(
    collector: Running, caplog: pytest.LogCaptureFixture
) -> None:
    fill_the_disk(collector)
    with caplog.at_level(logging.WARNING, logger="koala_middleware.collector"):
        for _ in range(3):
            assert collector.send(**BIG).status_code == 503
        assert collector.get("/healthz").status_code == 503
        assert "could not be stored" in collector.get("/health").text
        metrics = collector.get("/metrics").text
        assert 'requests_total{outcome="failed"} 3.0' in metrics
        assert 'requests_total{outcome="taken"}' not in metrics
        ours = [record for record in caplog.records if record.name == "koala_middleware.collector"]
        assert len(ours) == 1

        fill_the_disk(collector, full=False)
        assert collector.get("/healthz").status_code == 200, "though no sender has come meanwhile"
        assert collector.send(**BIG).status_code == 200
    assert "could not be stored" not in collector.get("/health").text


def test_a_damaged_file_is_answered_in_words(serve: Serve, database: Path) -> None:
    collector = serve()
    collector.send(**BIG)
    assert collector.get("/health").ok
    collector.app.state.collector.writer.run(
        lambda ledger: ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"), in_transaction=False
    ).result(10)
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 60)

    for path in ("/health", "/people", "/api/entries"):
        answered = collector.get(path)
        assert answered.status_code == 503, path
        assert "database" in answered.json()["error"]


@on_both_stores
def test_health_shows_repeats_and_who_sends(collector: Running) -> None:
    clicked = event("Clicked")
    for _ in range(3):
        collector.send(profile_id="p1", events=[clicked])
    until(lambda: "koala_collector_repeats_total 2.0" in collector.get("/metrics").text)
    page = collector.get("/health").text
    assert f"tests/1.0 · {KEY}" in page
    assert "3 requests, last stored" in page
