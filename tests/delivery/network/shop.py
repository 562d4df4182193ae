"""One web host of a site: `python shop.py ADDRESS`; its settings come from the environment."""

import sys
from collections.abc import Iterable
from typing import Any
from wsgiref.simple_server import make_server

from koala_middleware.wsgi import KoalaMiddleware


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    koala = environ["koala"]
    if environ["PATH_INFO"] == "/signup":
        koala.identify("ada@example.com", {"name": "Ada"})
    koala.track(f"Saw {environ['PATH_INFO']}")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


if __name__ == "__main__":
    server = make_server(sys.argv[1], 0, KoalaMiddleware(app))
    print(f"http://{sys.argv[1]}:{server.server_port}", flush=True)  # noqa: T201  (told to the test)
    server.serve_forever()
