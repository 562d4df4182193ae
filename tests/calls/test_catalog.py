"""The event catalog: events declared as classes, checked at the call in development, counted in production."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from koala_middleware import KoalaClient, koala_event
from koala_middleware.calls.catalog import catalog
from koala_middleware.payload.drafts import Call


@koala_event("Signed Up")
@dataclass
class SignedUp:
    plan: Literal["free", "pro"]
    seats: int = 1
    tags: list[str] = field(default_factory=list)


@koala_event("Order Placed")
class OrderPlaced(BaseModel):
    total: Decimal
    currency: str = Field(serialization_alias="currencyCode", default="EUR")


DECLARED = dict(catalog)
catalog.clear()


@pytest.fixture(autouse=True)
def own_catalog() -> Iterator[None]:
    """Within a test these events are declared, and after it none is."""
    catalog.update(DECLARED)
    yield
    catalog.clear()


def said(event: Any, *arguments: Any, strict: bool = True, **keywords: Any) -> Call:
    """What `track` takes down of such a call."""
    client = KoalaClient(public_api_key="pk_1", delivery="off", strict_events=strict)
    session = client.person(email="ada@example.com")
    session._context.track(event, *arguments, **keywords)
    (call,) = session._context._take()
    return call


def test_an_instance_is_sent_under_its_declared_name_with_its_fields() -> None:
    call = said(SignedUp(plan="pro", seats=3))

    assert (call.name, call.data) == ("Signed Up", {"plan": "pro", "seats": 3, "tags": []})


def test_a_pydantic_model_is_sent_under_its_aliases() -> None:
    call = said(OrderPlaced(total=Decimal("9.90")))

    assert (call.name, call.data) == ("Order Placed", {"total": Decimal("9.90"), "currencyCode": "EUR"})


def test_message_id_sent_at_and_context_go_with_an_instance_as_with_a_name() -> None:
    call = said(SignedUp(plan="pro"), message_id="m-1", context={"source": "import"})

    assert (call.message_id, call.context) == ("m-1", {"source": "import"})


def test_a_company_takes_an_instance_too() -> None:
    client = KoalaClient(public_api_key="pk_1", delivery="off")
    session = client.account(domain="example.com")
    session._open().track(SignedUp(plan="pro"))

    assert session._context._take()[0].name == "Signed Up"


def test_later_changes_of_an_argument_do_not_show_in_what_was_recorded() -> None:
    event = SignedUp(plan="pro", tags=["new"])
    call = said(event)
    event.tags.append("changed")

    assert call.data["tags"] == ["new"]


def changed(order: OrderPlaced) -> OrderPlaced:
    order.total = "secret@example.com"  # type: ignore[assignment]  # the fault
    return order


FAULTS = [
    pytest.param(
        (SignedUp(plan="pro", seats="secret@example.com"),),  # type: ignore[arg-type]  # the fault
        'the event "Signed Up" has a str as seats, declared int',
        id="a field of another type",
    ),
    pytest.param(
        (SignedUp(plan="gold"),),  # type: ignore[arg-type]  # the fault
        "\"Signed Up\" has a str as plan, declared Literal['free', 'pro']",
        id="a field outside its choices",
    ),
    pytest.param(
        (SignedUp(plan="pro", tags=[1]),),  # type: ignore[list-item]  # the fault
        '"Signed Up" has a list as tags, declared list[str]',
        id="an item of another type",
    ),
    pytest.param(
        (changed(OrderPlaced(total=Decimal(1))),),
        '"Order Placed" was changed to a value that its model does not accept',
        id="a model changed since",
    ),
    pytest.param(("Signed Up", {"seats": 3}), '"Signed Up" lacks plan', id="by name, a field missing"),
    pytest.param(
        ("Signed Up", {"plan": "pro", "secret@example.com": 1}),
        '"Signed Up" has properties beside plan, seats, tags',
        id="by name, a field too many",
    ),
    pytest.param(
        ("Signed Up", {"plan": "pro", "seats": None}),
        '"Signed Up" has a NoneType as seats, declared int',
        id="by name, a field of another type",
    ),
    pytest.param(
        ("Order Placed", {"total": "secret@example.com"}),
        '"Order Placed" has a wrong total (decimal_parsing)',
        id="by name, a model's field of another type",
    ),
    pytest.param(("Order Placed", None), '"Order Placed" has a wrong total (missing)', id="by name, nothing"),
]


@pytest.mark.parametrize(("arguments", "fault"), FAULTS)
def test_in_development_a_fault_raises_at_the_call_and_shows_no_value(
    arguments: tuple[Any, ...], fault: str
) -> None:
    with pytest.raises(ValueError, match="the event") as raised:
        said(*arguments)

    assert fault in str(raised.value)
    assert "secret@example.com" not in str(raised.value)


@pytest.mark.parametrize(("arguments", "fault"), FAULTS)
def test_in_production_the_event_is_sent_and_the_fault_is_logged_once_and_counted(
    arguments: tuple[Any, ...], fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = KoalaClient(public_api_key="pk_1", delivery="off")
    session = client.person(email="ada@example.com")
    for _ in range(3):
        session._context.track(*arguments)

    assert len(session._context._take()) == 3
    assert [fault in record.message for record in caplog.records] == [True]
    assert list(client._pipeline.log.counts.values()) == [3]
    assert "secret@example.com" not in caplog.text


def test_an_undeclared_name_raises_in_development_and_suggests_another() -> None:
    with pytest.raises(ValueError, match='declares the event "Singed Up"; did you mean "Signed Up"'):
        said("Singed Up")


def test_in_production_it_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    """A site may declare its events one after the other."""
    with caplog.at_level(logging.DEBUG):
        said("Viewed", strict=False)

    assert not caplog.records


def test_without_a_catalog_every_name_is_free() -> None:
    catalog.clear()

    assert said("Anything").name == "Anything"


def test_an_instance_of_a_class_that_is_not_declared_raises_always() -> None:
    @dataclass
    class Left:
        reason: str

    with pytest.raises(TypeError, match="declared with @koala_event as event, not Left"):
        said(Left("price"), strict=False)


def test_properties_beside_an_instance_raise() -> None:
    with pytest.raises(TypeError, match="takes no properties beside SignedUp"):
        said(SignedUp(plan="pro"), {"plan": "free"})


def test_one_name_is_declared_by_one_class() -> None:
    with pytest.raises(ValueError, match='"Signed Up" is declared twice'):

        @koala_event("Signed Up")
        @dataclass
        class Other:
            pass


def test_decorators_in_the_wrong_order_raise_with_the_right_order() -> None:
    with pytest.raises(TypeError, match="goes above @dataclass"):

        @dataclass
        @koala_event("Left")
        class Left:
            reason: str


def test_a_name_has_to_be_given() -> None:
    with pytest.raises(ValueError, match=r"such as @koala_event\(\"Signed Up\"\)"):
        koala_event(SignedUp)  # type: ignore[arg-type]  # the wrong call


def test_a_catalog_of_models_needs_no_extra_and_no_pydantic_is_loaded_for_names() -> None:
    """Run apart: here both are loaded."""
    code = (
        "import sys; from koala_middleware import KoalaClient, koala_event\n"
        "context = KoalaClient(public_api_key='pk_1', delivery='off').person(email='a@b.c')._context\n"
        "context.track('Anything')\n"
        "assert not {'pydantic', 'typeguard'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
