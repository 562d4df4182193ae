"""What only Flask has: factories, blueprints, its request class and its way to stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Blueprint, Flask, Response, copy_current_request_context, stream_with_context
from flask import Request as FlaskRequest

from koala_middleware import koala
from koala_middleware.flask import Koala, request
from koala_middleware.testing import Collector, RecordedBatches

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
extension = Koala()  # at a module's top, as factories have it


def track(name: str) -> None:
    """As code far from the request does it."""
    koala.track(name)


def create_app(**config: object) -> Flask:
    app = Flask(__name__)
    app.config.from_mapping({"KOALA_PUBLIC_API_KEY": "pk_test", **config})
    extension.init_app(app)
    return app


def page() -> str:
    track("Seen")
    return "hello"


def get(app: Flask, path: str = "/") -> str:
    """The page as the visitor gets it, down to its last byte."""
    answer = app.test_client(use_cookies=False).get(path, headers={"Cookie": f"ko_id={ADA}"})
    text = answer.text
    answer.close()
    return text


def names(events: RecordedBatches) -> list[str | None]:
    return [event.name for event in events.of(ADA)]


def test_two_apps_of_one_factory_send_under_their_own_keys(koala_collector: Collector) -> None:
    settings = {"KOALA_ENDPOINT": koala_collector.url, "KOALA_FLUSH_INTERVAL": 0.01}
    apps = [create_app(KOALA_PUBLIC_API_KEY=key, **settings) for key in ("pk_one", "pk_two")]
    for app in apps:
        app.add_url_rule("/", view_func=page)

    for number, app in enumerate([*apps, apps[0]], 1):
        get(app)
        koala_collector.wait_for(number)

    keys = [received.path.split("/")[3] for received in koala_collector.received]
    assert keys == ["pk_one", "pk_two", "pk_one"]


def test_twice_in_one_app_is_once(koala_events: RecordedBatches) -> None:
    app = create_app()
    extension.init_app(app)
    app.add_url_rule("/", view_func=page)

    get(app)

    assert names(koala_events) == ["Seen"]


def test_a_second_koala_with_other_settings_raises_and_names_them() -> None:
    app = create_app(KOALA_COOKIE_DOMAIN="example.com", KOALA_SECRET_API_KEY="sk_first")

    with pytest.raises(RuntimeError) as raised:
        Koala(app, mint="never", secret_api_key="sk_second")

    assert "other settings: mint, secret_api_key" in str(raised.value)
    assert "sk_" not in str(raised.value)


def test_everything_a_blueprint_registers_has_the_visitor(koala_events: RecordedBatches) -> None:
    shop, cart = Blueprint("shop", __name__), Blueprint("cart", __name__)

    @shop.before_request
    def before() -> None:
        request.koala.track("Before")

    @cart.get("/")
    def contents() -> str:
        request.koala.track("In Cart")
        raise LookupError

    @shop.errorhandler(LookupError)
    def lost(error: LookupError) -> str:
        track("Lost")
        return "nothing here"

    @shop.after_request
    def after(response: Response) -> Response:
        request.koala.track("After")
        return response

    @shop.teardown_request
    def teardown(error: BaseException | None) -> None:
        request.koala.track("Torn Down")

    shop.register_blueprint(cart, url_prefix="/cart")
    app = create_app()
    app.register_blueprint(shop, url_prefix="/shop")

    assert get(app, "/shop/cart/") == "nothing here"
    assert names(koala_events) == ["Before", "In Cart", "Lost", "After", "Torn Down"]


def test_a_stream_has_the_request_and_the_proxy(koala_events: RecordedBatches) -> None:
    app = create_app()

    @app.get("/")
    def parts() -> Response:
        def chunks() -> Iterator[str]:
            request.koala.track("First")
            yield "first,"
            track("Second")
            yield "second"

        return Response(stream_with_context(chunks()))

    assert get(app) == "first,second"
    assert names(koala_events) == ["First", "Second"]


def test_async_views_and_threads_they_wait_for_have_the_visitor(koala_events: RecordedBatches) -> None:
    app = create_app()

    @app.get("/")
    async def handler() -> str:
        request.koala.track("Awaited")
        await asyncio.to_thread(track, "In A Thread")
        await asyncio.gather(asyncio.create_task(asyncio.to_thread(track, "In A Task")))
        return "hello"

    assert get(app) == "hello"
    assert names(koala_events) == ["Awaited", "In A Thread", "In A Task"]


def test_a_thread_that_copies_the_request_has_the_visitor(koala_events: RecordedBatches) -> None:
    app = create_app()

    @app.get("/")
    def handler() -> str:
        @copy_current_request_context
        def elsewhere() -> None:
            request.koala.track("Elsewhere")

        with ThreadPoolExecutor() as threads:
            threads.submit(elsewhere).result()
        return "hello"

    assert get(app) == "hello"
    assert names(koala_events) == ["Elsewhere"]


def test_an_apps_own_request_class_stays_its_own(koala_events: RecordedBatches) -> None:
    class Shouting(FlaskRequest):
        @property
        def shout(self) -> str:
            return self.path.upper()

    class Shop(Flask):
        request_class = Shouting

    app = Shop(__name__)
    Koala(app, public_api_key="pk_test")

    @app.get("/hello")
    def hello() -> str:
        request.koala.track("Seen")
        return request.shout  # type: ignore[attr-defined,no-any-return]  # that app's own

    assert get(app, "/hello") == "/HELLO"
    assert names(koala_events) == ["Seen"]
    assert issubclass(app.request_class, Shouting)
    assert Shop.request_class is Shouting
