"""What may leave: samples, allowed properties, masked secrets, and the site's own last look."""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import uuid4

import pytest

from koala_middleware.client import KoalaClient
from koala_middleware.protocol.batches import Batch
from koala_middleware.protocol.request_bodies import request_body


class Out:
    """A client whose batches are looked at instead of sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.dropped: dict[str, int] = {}
        self.client = KoalaClient(public_api_key=f"pk_{uuid4().hex}", **settings)  # its own counts
        monkeypatch.setattr(self.client._pipeline.delivery, "put", self._put)
        monkeypatch.setattr(self.client._pipeline.delivery, "dropped", self._drop)

    def _put(self, batch: Batch) -> None:
        self.bodies.append(json.loads(request_body(batch)))

    def _drop(self, entries: int, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + entries

    def track(self, event: str, times: int = 1, **properties: Any) -> None:
        with self.client.person(email="ada@example.com") as koala:
            for _ in range(times):
                koala.track(event, properties)

    @property
    def properties(self) -> list[dict[str, Any]]:
        return [event["properties"] for body in self.bodies for event in body.get("events", [])]


def test_secrets_are_masked_at_any_depth_unless_the_site_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = Out(monkeypatch)
    out.track("Paid", card={"number": "4111 1111 1111 1111"}, note="call me", password="hunter2")
    assert "4111" not in json.dumps(out.bodies)
    assert "hunter2" not in json.dumps(out.bodies)
    assert out.properties[0]["note"] == "call me"
    unmasked = Out(monkeypatch, scrub=False)
    unmasked.track("Paid", password="hunter2")
    assert unmasked.properties == [{"password": "hunter2"}]


def test_an_event_has_only_the_properties_it_is_allowed_and_others_keep_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = Out(monkeypatch, allow_properties={"Paid": ["amount"]})
    out.track("Paid", amount=12, note="for Bob")
    out.track("Seen", note="hello")
    assert out.properties == [{"amount": 12}, {"note": "hello"}]


def test_a_sampled_event_leaves_at_its_rate_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Out(monkeypatch, sample_rate={"Scrolled": 0, "Clicked": 1})
    out.track("Scrolled", times=5)
    out.track("Clicked", times=3)
    assert len(out.properties) == 3
    assert out.dropped == {"sampled": 5}


def test_before_send_sees_the_batch_as_it_will_be_sent_and_may_change_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[dict[str, Any]] = []

    def before_send(batch: dict[str, Any]) -> dict[str, Any]:
        seen.append(json.loads(json.dumps(batch)))
        batch["email"] = "hidden@example.com"
        batch["events"][0]["properties"]["added"] = True
        return batch

    out = Out(monkeypatch, before_send=before_send)
    out.track("Paid", amount=12)
    assert seen[0]["email"] == "ada@example.com"
    assert out.bodies[0]["email"] == "hidden@example.com"
    assert out.properties == [{"amount": 12, "added": True}]


def test_before_send_may_hold_a_batch_back_and_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Out(monkeypatch, before_send=lambda _: None)
    out.track("Paid", times=2)
    assert out.bodies == []
    assert out.dropped == {"before_send": 2}


@pytest.mark.parametrize(
    "broken", [lambda _: 1 / 0, lambda _: "a batch"], ids=["it raises", "it returns no batch"]
)
def test_a_broken_before_send_sends_nothing_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: Any
) -> None:
    out = Out(monkeypatch, before_send=broken)
    with caplog.at_level(logging.WARNING, "koala_middleware"):
        out.track("Paid")
        out.track("Paid")
    assert out.bodies == []
    assert out.client.stats().refused == 2
    assert caplog.text.count("before_send failed") == 1
    assert "ada@example.com" not in caplog.text


def test_what_a_site_adds_in_before_send_is_made_json_like_everything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def before_send(batch: dict[str, Any]) -> dict[str, Any]:
        batch["events"][0]["properties"]["when"] = {1, 2}
        return batch

    out = Out(monkeypatch, before_send=before_send)
    out.track("Paid")
    assert out.properties == [{"when": [1, 2]}]
