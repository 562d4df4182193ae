"""A context that is copied or pickled with what holds it."""

from __future__ import annotations

import copy
import pickle

import pytest

from koala_middleware import KoalaClient
from koala_middleware.testing import RecordedBatches


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_what_holds_a_context_holds_the_same_visitor(
    copied: type, koala_events: RecordedBatches
) -> None:
    with KoalaClient(public_api_key="pk_test").person(email="ada@example.com") as koala:
        scope = copied({"koala": koala, "state": {"koala": koala}})
        scope["koala"].track("Seen")
        assert scope["state"]["koala"] is koala

    koala_events.assert_tracked("Seen", email="ada@example.com")


def test_a_pickled_context_holds_no_setting_and_no_person(koala_events: RecordedBatches) -> None:
    with KoalaClient(public_api_key="pk_secret").person(profile_id="an-id", email="ada@example.com") as koala:
        koala.track("Before")
        pickled = pickle.dumps(koala)

    assert b"pk_secret" not in pickled
    assert b"ada" not in pickled
    again = pickle.loads(pickled)
    again.identify("grace@example.com")
    again.track("After")
    again.flush()
    assert (again.enabled, again.profile_id) == (False, None)
    assert [event.name for event in koala_events.tracked] == ["Before"]
