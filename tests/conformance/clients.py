"""The frameworks' own test clients, each as one function from a question to an answer."""

from __future__ import annotations

from typing import Any

from conformance.exchange import Answer, Ask, Send

_SERVER_ERROR = 500


def starlette_client(app: Any) -> Send:
    from starlette.testclient import TestClient

    def send(ask: Ask) -> Answer:
        client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
        client.headers.clear()
        answer = client.request(ask.method, ask.path, headers=dict(ask.headers), content=ask.body)
        return Answer(answer.status_code, list(answer.headers.multi_items()), answer.content)

    return send


def werkzeug_client(app: Any) -> Send:
    from werkzeug.test import Client

    def send(ask: Ask) -> Answer:
        client = Client(app, use_cookies=False)
        try:
            answer = client.open(ask.path, method=ask.method, headers=dict(ask.headers), data=ask.body)
            body = answer.get_data()
        except Exception as error:  # noqa: BLE001  (whatever the app raises is the answer)
            return Answer(_SERVER_ERROR, [], error=error)
        answer.close()
        return Answer(answer.status_code, list(answer.headers.items()), body)

    return send


def flask_client(app: Any) -> Send:
    def send(ask: Ask) -> Answer:
        client = app.test_client(use_cookies=False)
        try:
            answer = client.open(ask.path, method=ask.method, headers=dict(ask.headers), data=ask.body)
            body = answer.get_data()
        except Exception as error:  # noqa: BLE001  (whatever the app raises is the answer)
            return Answer(_SERVER_ERROR, [], error=error)
        answer.close()
        return Answer(answer.status_code, list(answer.headers.items()), body)

    return send


def django_client(_: Any) -> Send:
    from django.test import Client

    client = Client(raise_request_exception=False)

    def send(ask: Ask) -> Answer:
        answer = client.generic(ask.method, ask.path, ask.body, **_environ(ask))  # type: ignore[arg-type]  # typed for its own keywords
        return _django_answer(answer, b"".join(answer) if answer.streaming else answer.content)

    return send


def django_async_client(_: Any) -> Send:
    from asgiref.sync import async_to_sync
    from django.test import AsyncClient

    class OneHostClient(AsyncClient):
        """Django's own sends "testserver" beside the Host that a test names."""

        def _base_scope(self, **request: Any) -> Any:
            scope = super()._base_scope(**request)  # type: ignore[misc]  # the stubs leave it out
            scope["headers"].remove((b"host", b"testserver"))
            return scope

    client = OneHostClient(raise_request_exception=False)

    async def send(ask: Ask) -> Answer:
        answer: Any = await client.generic(ask.method, ask.path, ask.body, headers=dict(ask.headers))
        if answer.streaming:
            body = b"".join([chunk async for chunk in answer] if answer.is_async else list(answer))
            answer.close()
        else:
            body = answer.content
        return _django_answer(answer, body)

    return async_to_sync(send)


def _environ(ask: Ask) -> dict[str, str]:
    environ = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in ask.headers.items()}
    if "HTTP_CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
    return environ


def _django_answer(answer: Any, body: bytes) -> Answer:
    headers = list(answer.items()) + [
        ("Set-Cookie", morsel.OutputString()) for morsel in answer.cookies.values()
    ]
    return Answer(answer.status_code, headers, body)
