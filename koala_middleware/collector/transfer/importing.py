"""Imports: batches from files, sent to a running collector by its own protocol.

So they are checked like everything else, and what is imported twice counts once. Must not know the database.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import orjson
import requests
from tqdm import tqdm

from koala_middleware.collector.validation.json_object import parse_json

HEADERS = {"User-Agent": "koala-middleware-import/1.0", "Content-Type": "application/json"}
TIMEOUT = 30.0  # seconds for one request
MAX_WAIT = 300.0  # seconds for a line that the collector cannot take now
MIN_PAUSE = 1.0  # seconds between two attempts
RETRY_LATER = frozenset({429, 503})


def import_files(
    files: Iterable[Path], collector: str, key: str, pause: Callable[[float], object] = time.sleep
) -> tuple[int, int]:
    """Send batches from JSON lines to a collector. Returns how many were taken and how many refused.

    A line is a batch's body, or `{"path": "/web/projects/pk_…/batch", "body": {…}}`, or `{"key": …, "body": {…}}`.
    A line that the collector cannot take now is sent again after a pause.
    """
    taken = refused = 0
    with requests.Session() as session:
        for file in files:
            with (
                file.open("rb") as lines,
                tqdm(total=file.stat().st_size, unit="B", unit_scale=True, file=sys.stderr) as bar,
            ):
                for number, line in enumerate(lines, 1):
                    bar.update(len(line))
                    if not line.strip():
                        continue
                    problem = _send(session, collector, key, line, pause)
                    taken, refused = taken + (problem is None), refused + (problem is not None)
                    if problem:
                        tqdm.write(f"{file}:{number}: {problem}", file=sys.stderr)
    return taken, refused


def _send(
    session: requests.Session, collector: str, key: str, line: bytes, pause: Callable[[float], object]
) -> str | None:
    """Why the line was not taken, or None."""
    try:
        row = parse_json(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error}"
    if not isinstance(row, dict):
        return "not a JSON object"
    body = row.get("body", row)
    account = isinstance(body, dict) and ("domain" in body or "account_id" in body)
    path = row.get("path") or f"/web/projects/{row.get('key', key)}/{'accounts/' if account else ''}batch"
    data = body.encode() if isinstance(body, str) else orjson.dumps(body)
    answer = _answer(session, collector.rstrip("/") + path, data, pause)
    return None if answer.ok else f"{answer.status_code} {answer.text[:300]}"


def _answer(
    session: requests.Session, url: str, data: bytes, pause: Callable[[float], object]
) -> requests.Response:
    """The first answer that does not ask to come again, or the last one when MAX_WAIT has passed."""
    waited = 0.0
    while True:
        answer = session.post(url, data=data, headers=HEADERS, timeout=TIMEOUT)
        if answer.status_code not in RETRY_LATER or waited >= MAX_WAIT:
            return answer
        seconds = _retry_after(answer)
        pause(seconds)
        waited += seconds


def _retry_after(answer: requests.Response) -> float:
    """Seconds until the next try."""
    stated = answer.headers.get("Retry-After", "")
    return min(max(float(stated), MIN_PAUSE), MAX_WAIT) if stated.isdecimal() else MIN_PAUSE
