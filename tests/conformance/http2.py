"""A client that speaks HTTP/2 as browsers do: each cookie in a field of its own.

No Python client does that by itself, and what a server makes of several Cookie fields is what is looked at.
"""

from __future__ import annotations

import socket

from conformance.exchange import Answer, Ask
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset


def http2_answer(port: int, ask: Ask) -> Answer:
    """The answer over a connection of its own, by prior knowledge that the server speaks HTTP/2."""
    status, headers, body = 0, [], b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        # Django's cookies begin with a blank, which is its own affair.
        http = H2Connection(H2Configuration(header_encoding="utf-8", validate_inbound_headers=False))
        http.initiate_connection()
        http.send_headers(1, _fields(ask), end_stream=True)
        while True:
            connection.sendall(http.data_to_send())
            received = connection.recv(65536)
            if not received:
                raise ConnectionError(f"the server hung up after {status=}, {body=}")
            for event in http.receive_data(received):
                if isinstance(event, ResponseReceived):
                    pairs = [(_text(name), _text(value)) for name, value in event.headers or ()]
                    status, headers = int(pairs[0][1]), pairs[1:]
                elif isinstance(event, DataReceived):
                    body += event.data
                elif isinstance(event, StreamEnded | StreamReset):
                    return Answer(status, headers, body)


def _fields(ask: Ask) -> list[tuple[str, str]]:
    given = {name.lower(): value for name, value in ask.headers.items()}
    cookies = given.pop("cookie", "")
    return [
        (":method", ask.method),
        (":scheme", "http"),
        (":authority", given.pop("host")),
        (":path", ask.path),
        *given.items(),
        *(("cookie", pair) for pair in cookies.split("; ") if pair),
    ]


def _text(part: str | bytes) -> str:
    return (part.decode() if isinstance(part, bytes) else part).strip()
