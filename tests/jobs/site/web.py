"""The site's web process, whatever its queue: `python web.py on_celery` says its port and serves.

`/enqueue/JOB` tracks "Clicked" and enqueues; `/beside/JOB` enqueues where nobody is known, as a timer would.
"""

import sys
import threading
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from werkzeug.serving import make_server

from koala_middleware.wsgi import KoalaMiddleware

site = import_module(sys.argv[1])


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    _, how, job = environ["PATH_INFO"].split("/")
    if how == "enqueue":
        if email := environ.get("HTTP_X_LOGIN"):
            environ["koala"].identify(email)
        environ["koala"].track("Clicked")
        site.enqueue(job)
    else:
        timer = threading.Thread(target=site.enqueue, args=(job,))
        timer.start()
        timer.join()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


server = make_server("127.0.0.1", 0, KoalaMiddleware(app, site.client), threaded=True)
sys.stdout.write(f"Serving: http://127.0.0.1:{server.server_port}\n")
sys.stdout.flush()
server.serve_forever()
