"""docs/how-to/transports.md, word for word: each of its three sites starts, knows the task, and hands a batch in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis
from support.brokers import Broker

DOCS = Path(__file__).parents[3] / "docs" / "how-to" / "transports.md"
SETTINGS = """
SECRET_KEY = "made up"
INSTALLED_APPS = []
MIDDLEWARE = ["koala_middleware.django.KoalaMiddleware"]
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "proj.urls"
KOALA_PUBLIC_API_KEY = "pk_demo"
KOALA_TRANSPORT = "celery"
KOALA_CELERY_APP = "proj.celery:app"
CELERY_BROKER_URL = URL
"""
DJANGO = """
from django.test import Client
from proj.celery import app as tasks
import django
django.setup()
Client().get("/signup")
"""
URLS = """
from django.http import HttpResponse
from django.urls import path

def signup(request):
    request.koala.track("Signed Up")
    return HttpResponse("ok")

urlpatterns = [path("signup", signup)]
"""
FLASK = """
from flask import request
from shop import app, tasks

@app.get("/signup")
def signup():
    request.koala.track("Signed Up")
    return "ok"

app.test_client().get("/signup").close()
"""
FASTAPI = """
from fastapi import Request
from shop import app, tasks
from starlette.testclient import TestClient

@app.get("/signup")
def signup(request: Request):
    request.koala.track("Signed Up")

TestClient(app).get("/signup")
"""
AFTERWARDS = """
from koala_middleware.testing import drain
drain()
assert "koala_middleware.deliver" in tasks.tasks
"""


def block(title: str) -> str:
    """The code below **title**."""
    found = re.search(rf"\*\*{title}\*\*\n\n<!--[^\n]*\n```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None, f"docs/how-to/transports.md has no code for {title}"
    return found[1]


@pytest.mark.parametrize(
    ("title", "name", "visit"),
    [("Django", "proj/celery.py", DJANGO), ("Flask", "shop.py", FLASK), ("FastAPI", "shop.py", FASTAPI)],
)
def test_the_documented_site_hands_a_batch_to_its_celery(
    title: str, name: str, visit: str, redis: Broker, tmp_path: Path
) -> None:
    url = f"redis://127.0.0.1:{redis.port}/7"
    here = {
        name: block(title).replace("amqp://guest:guest@localhost//", url),
        "proj/__init__.py": "from proj.celery import app\n" if title == "Django" else "",
        "proj/settings.py": SETTINGS.replace("= URL", f"= {url!r}"),
        "proj/urls.py": URLS,
    }
    (tmp_path / "proj").mkdir()
    for path, text in here.items():
        (tmp_path / path).write_text(text)
    code = visit + AFTERWARDS
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)

    with Redis(port=redis.port, db=7) as client:
        assert sum(client.llen(f"koala.{shard}") for shard in range(4)) == 1
        client.flushdb()
