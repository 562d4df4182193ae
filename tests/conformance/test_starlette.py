"""What only Starlette and FastAPI have: apps in apps, routers, dependencies, and a lifespan of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, WebSocket
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router
from starlette.testclient import TestClient

from koala_middleware import KoalaClient, KoalaContext, koala
from koala_middleware.asgi import KoalaRequest
from koala_middleware.fastapi import Koala, KoalaMiddleware
from koala_middleware.testing import Collector, RecordedBatches

ADA = "3e6a2c18-3b02-40c4-b8d2-1842c193d3ba"
KNOWN = {"Cookie": f"ko_id={ADA}"}


def track(name: str) -> None:
    """As code far from the request does it."""
    koala.track(name)


async def page(request: KoalaRequest) -> Response:
    request.koala.track(
        "Seen", {"path": request.url.path, "same": request.koala.profile_id == koala.profile_id}
    )
    return PlainTextResponse("hello")


# Apps in apps


def mounted_starlette() -> Any:
    return Starlette(routes=[Mount("/shop", Starlette(routes=[Route("/cart", page)]))])


def mounted_router() -> Any:
    return Starlette(routes=[Mount("/shop", Router([Route("/cart", page)]))])


def mounted_fastapi() -> Any:
    app, shop = FastAPI(), FastAPI()
    shop.add_api_route("/cart", page, response_model=None)
    app.mount("/shop", shop)
    return app


def included_router() -> Any:
    app, shop = FastAPI(), APIRouter(prefix="/shop")
    shop.add_api_route("/cart", page, response_model=None)
    app.include_router(shop)
    return app


@pytest.mark.parametrize("build", [mounted_starlette, mounted_router, mounted_fastapi, included_router])
def test_an_app_in_the_app_has_the_same_visitor_and_the_whole_path(
    build: Any, koala_events: RecordedBatches
) -> None:
    app = build()
    app.add_middleware(KoalaMiddleware, public_api_key="pk_test")

    answer = TestClient(app).get("/shop/cart", headers={"Host": "www.example.com"})

    assert answer.text == "hello"
    assert [value.startswith("ko_id=") for value in answer.headers.get_list("set-cookie")] == [True]
    koala_events.assert_tracked("Seen", path="/shop/cart", same=True)


def test_of_two_keys_the_outer_ones_has_the_request(koala_collector: Collector) -> None:
    settings: dict[str, Any] = {"endpoint": koala_collector.url, "flush_interval": 0.01}
    shop = Starlette(routes=[Route("/", page)])
    shop.add_middleware(KoalaMiddleware, public_api_key="pk_shop", **settings)
    site = Starlette(routes=[Mount("/shop", shop)])

    TestClient(site).get("/shop/", headers=KNOWN)
    koala_collector.wait_for(1)
    TestClient(KoalaMiddleware(site, public_api_key="pk_site", **settings)).get("/shop/", headers=KNOWN)
    koala_collector.wait_for(2)

    paths = [request.path for request in koala_collector.received]
    assert paths == ["/web/projects/pk_shop/batch", "/web/projects/pk_site/batch"]


# Dependencies


async def asked_first(koala: Koala) -> AsyncIterator[None]:
    koala.track("Began")
    yield
    koala.track("Ended")


def asked_in_a_thread(koala: Koala) -> KoalaContext:
    track("Looked Up")
    return koala


def test_dependencies_and_handlers_sync_and_async_have_one_context(koala_events: RecordedBatches) -> None:
    router = APIRouter(dependencies=[Depends(asked_first)])

    @router.get("/")
    def handler(koala: Koala, same: Annotated[KoalaContext, Depends(asked_in_a_thread)]) -> str:
        assert same is koala
        track("Handled")
        return "hello"

    app = FastAPI()
    app.include_router(router)
    app.add_middleware(KoalaMiddleware, public_api_key="pk_test")

    assert TestClient(app).get("/", headers=KNOWN).json() == "hello"
    assert [event.name for event in koala_events.of(ADA)] == ["Began", "Looked Up", "Handled", "Ended"]


def test_a_websocket_has_the_dependency_and_the_proxy(koala_events: RecordedBatches) -> None:
    app = FastAPI()
    app.add_middleware(KoalaMiddleware, public_api_key="pk_test")

    @app.websocket("/chat")
    async def chat(websocket: WebSocket, koala: Koala) -> None:
        await websocket.accept()
        koala.track("Joined")
        await websocket.receive_text()
        track("Said")
        await websocket.close()

    with TestClient(app).websocket_connect("/chat", headers=KNOWN) as socket:
        socket.send_text("hello")

    assert [event.name for event in koala_events.of(ADA)] == ["Joined", "Said"]


# Far from the request


async def in_the_thread_pool() -> None:
    await run_in_threadpool(track, "Far Away")


async def in_a_thread_of_asyncio() -> None:
    await asyncio.to_thread(track, "Far Away")


async def in_an_executor_with_the_context() -> None:
    await asyncio.get_running_loop().run_in_executor(None, copy_context().run, track, "Far Away")


async def in_a_task() -> None:
    async def task() -> None:
        track("Far Away")

    await asyncio.create_task(task())


@pytest.mark.parametrize(
    "somewhere", [in_the_thread_pool, in_a_thread_of_asyncio, in_an_executor_with_the_context, in_a_task]
)
@pytest.mark.parametrize("streams", [False, True], ids=["in the handler", "in the stream"])
def test_the_proxy_is_this_requests_wherever_its_work_is_done(
    somewhere: Any, streams: bool, koala_events: RecordedBatches
) -> None:
    async def chunks() -> AsyncIterator[str]:
        yield "hello"
        await somewhere()

    async def handler(request: Request) -> Response:
        if streams:
            return StreamingResponse(chunks())
        await somewhere()
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", handler)])
    app.add_middleware(KoalaMiddleware, public_api_key="pk_test")

    assert TestClient(app).get("/", headers=KNOWN).text == "hello"
    koala_events.assert_tracked("Far Away", profile_id=ADA)


def test_a_stream_made_in_the_thread_pool_has_the_proxy(koala_events: RecordedBatches) -> None:
    def chunks() -> Iterator[str]:
        track("Streamed")
        yield "hello"

    app = FastAPI()
    app.add_api_route("/", lambda: StreamingResponse(chunks()), response_model=None)
    app.add_middleware(KoalaMiddleware, public_api_key="pk_test")

    assert TestClient(app).get("/", headers=KNOWN).text == "hello"
    koala_events.assert_tracked("Streamed", profile_id=ADA)


# Exceptions


async def teapot(request: Request, error: Exception) -> Response:
    track("Saw Error")
    return PlainTextResponse("short and stout", 418)


def test_an_exception_handler_has_the_proxy(koala_events: RecordedBatches) -> None:
    def handler() -> None:
        raise HTTPException(404)

    app = FastAPI(exception_handlers={404: teapot})
    app.add_api_route("/", handler)
    app.add_middleware(KoalaMiddleware, public_api_key="pk_test")

    assert TestClient(app).get("/", headers=KNOWN).status_code == 418
    koala_events.assert_tracked("Saw Error", profile_id=ADA)


def failing_app() -> FastAPI:
    def handler() -> None:
        raise LookupError

    app = FastAPI(exception_handlers={Exception: teapot})
    app.add_api_route("/", handler)
    return app


def test_the_500_page_has_the_proxy_and_the_cookie_where_koala_is_around_the_app(
    koala_events: RecordedBatches,
) -> None:
    app = KoalaMiddleware(failing_app(), public_api_key="pk_test")

    answer = TestClient(app, raise_server_exceptions=False).get("/", headers={"Host": "www.example.com"})

    assert answer.text == "short and stout"
    [event] = koala_events.tracked
    assert answer.headers["set-cookie"].startswith(f"ko_id={event.profile_id};")


# The lifespan


def test_calls_at_the_apps_end_are_delivered_before_delivery_closes(koala_collector: Collector) -> None:
    client = KoalaClient(public_api_key="pk_test", endpoint=koala_collector.url, flush_interval=30.0)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        async with client.person(email="ada@example.com") as last:
            last.track("Closed Shop")

    app = Starlette(routes=[Route("/", page)], lifespan=lifespan)
    app.add_middleware(KoalaMiddleware, client=client)

    with TestClient(app) as visitor:
        visitor.get("/", headers=KNOWN)
        assert koala_collector.batches == []

    assert {event.name for event in koala_collector.events.tracked} == {"Seen", "Closed Shop"}
    assert client.stats().waiting == 0


def test_the_context_is_in_the_scope_and_in_its_state_too(koala_events: RecordedBatches) -> None:
    async def home(request: Request[Any]) -> Response:
        assert request.state.koala is request.scope["koala"]
        request.state.koala.track("Seen")
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", home)])
    app.add_middleware(KoalaMiddleware, public_api_key="pk_test")

    assert TestClient(app).get("/").text == "hello"
    koala_events.assert_tracked("Seen")
