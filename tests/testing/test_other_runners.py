"""Under unittest and Django's runner nothing is delivered, except to a collector that a test starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from koala_middleware.testing import Collector

SUITE = """
import unittest
from flask import Flask, request
from koala_middleware import KoalaClient
from koala_middleware.flask import Koala
from koala_middleware.testing import Collector, drain

def use(endpoint):
    app = Flask(__name__)
    client = KoalaClient(public_api_key="pk_live", endpoint=endpoint, delivery="thread")
    Koala(app, client)
    app.get("/")(lambda: request.koala.track("Seen") or "hello")
    app.test_client().get("/", buffered=True)
    drain()
    return client.stats()

class Tests(unittest.TestCase):
    def test_production_is_not_reached(self):
        self.assertEqual(use("%s").dropped, {"delivery off": 1})

    def test_a_collector_of_the_test_is_reached(self):
        with Collector() as collector:
            self.assertEqual(use(collector.url).delivered, 1)
            collector.events.assert_tracked("Seen")

if __name__ == "__main__":
    unittest.main()
"""

DJANGO_SETTINGS = """
SECRET_KEY = "x"
STATIC_URL = "/static/"
ROOT_URLCONF = "shop.urls"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
MIDDLEWARE = ["koala_middleware.django.KoalaMiddleware"]
KOALA_PUBLIC_API_KEY = "pk_live"
KOALA_ENDPOINT = "%s"
KOALA_FLUSH_INTERVAL = 0
"""

DJANGO_SITE = """
from django.http import HttpResponse
from django.urls import path
from koala_middleware import KoalaClient

client = KoalaClient(public_api_key="pk_live", endpoint="%s")  # made before the tests are set up

def seen(request):
    request.koala.track("Seen")
    with client.person(email="ada@example.com") as koala:
        koala.track("Seen by a job")
    return HttpResponse("hello")

urlpatterns = [path("", seen)]
"""

DJANGO_TESTS = """
from urllib.request import urlopen
from django.test import LiveServerTestCase, TestCase
from koala_middleware.testing import drain

class Client(TestCase):
    def test_it(self):
        self.assertEqual(self.client.get("/").status_code, 200)
        drain()

class Live(LiveServerTestCase):
    def test_it(self):
        urlopen(self.live_server_url).read()
        drain()
"""


def run(folder: Path, *arguments: str) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("KOALA_", "PYTEST"))
    }
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("arguments", [["-m", "unittest", "test_app"], ["test_app.py"]], ids=" ".join)
def test_unittest_delivers_only_to_a_collector_of_the_test(arguments: list[str], tmp_path: Path) -> None:
    with Collector() as production:
        (tmp_path / "test_app.py").write_text(SUITE % production.url)
        run(tmp_path, *arguments)
        assert production.received == []


def test_djangos_runner_delivers_nothing(tmp_path: Path) -> None:
    with Collector() as production:
        shop = tmp_path / "shop"
        shop.mkdir()
        (shop / "__init__.py").touch()
        (shop / "settings.py").write_text(DJANGO_SETTINGS % production.url)
        (shop / "urls.py").write_text(DJANGO_SITE % production.url)
        (shop / "tests.py").write_text(DJANGO_TESTS)
        run(tmp_path, "-m", "django", "test", "--settings", "shop.settings", "--pythonpath", ".")
        assert production.received == []
