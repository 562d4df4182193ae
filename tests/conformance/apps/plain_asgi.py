"""The site as a plain ASGI app: no framework, `scope["koala"]`."""

from __future__ import annotations

from typing import Any

from conformance.asgi_chunks import as_async
from conformance.handlers import ROUTES, Headers, RawRequest, Reply, not_found, resolved, sorry
from conformance.switchboard import AsgiSwitchboard

from koala_middleware.asgi import KoalaMiddleware


async def site(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    if scope["type"] == "websocket":
        await chat(scope, receive, send)
        return
    if scope["path"] == "/echo":
        await _respond(send, Reply(await _body(receive)))
        return
    headers = {name.decode().title(): value.decode("latin-1") for name, value in scope["headers"]}
    request = RawRequest(scope.get("koala"), headers)
    await _respond(send, ROUTES.get(scope["path"], not_found)(request))


async def live(receive: Any, send: Any) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": message["type"] + ".complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def chat(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        scope["koala"].track("Said", {"words": message["text"]})
        if message["text"] == "flush":
            scope["koala"].flush()
        await send({"type": "websocket.send", "text": message["text"].upper()})


async def _respond(send: Any, reply: Reply) -> None:
    headers: Headers = [("Content-Type", "text/plain"), *reply.headers]
    if reply.chunks is None:
        body = reply.file.read_bytes() if reply.file else reply.body
        if reply.status not in {204, 304}:
            headers.append(("Content-Length", str(len(body))))
        await send(_start(reply.status, headers))
        await send({"type": "http.response.body", "body": body})
    else:
        await send(_start(reply.status, headers))
        async for chunk in as_async(reply.chunks()):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})
    if reply.after:
        reply.after()


def _start(status: int, headers: Headers) -> dict[str, Any]:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


async def _body(receive: Any) -> bytes:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message.get("more_body"):
            break
    return body


def with_error_page(app: Any) -> Any:
    """What frameworks have inside: a handler that turns an exception into the site's own 500."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        started = False

        async def noting(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await app(scope, receive, noting)
        except Exception:
            if not started and "koala" in scope:
                await _respond(send, sorry(RawRequest(scope["koala"], {})))
            raise

    return guarded


def build(settings: dict[str, Any] | None) -> Any:
    app = with_error_page(site)
    return app if settings is None else KoalaMiddleware(app, **resolved(settings))


application = AsgiSwitchboard(build)
