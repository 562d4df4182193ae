"""The pytest plugin, as a user's suite meets it: a pytest inside this one."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

# Plugins that only this project's environment has: they take seconds to load.
WITHOUT_OTHERS = (
    "-p no:anyio -p no:faker -p no:hypothesispytest -p no:schemathesis -p no:typeguard -p no:xdist"
)

APP = """
    from koala_middleware.wsgi import KoalaMiddleware
    from werkzeug.test import Client

    def app(environ, start_response):
        koala = environ["koala"]
        koala.identify("ada@example.com", {"name": "Ada"})
        koala.track("Logged In", {"method": "password"})
        start_response("200 OK", [])
        return [b"hello"]
"""


@pytest.fixture(autouse=True)
def user_suite(pytester: pytest.Pytester) -> None:
    pytester.makeini(f"[pytest]\nfilterwarnings = error\naddopts = {WITHOUT_OTHERS}")
    pytester.makepyfile(app=APP)


def test_nothing_is_delivered_under_pytest_however_the_app_is_set_up(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import os
        from http.server import HTTPServer, BaseHTTPRequestHandler
        from app import Client, KoalaMiddleware, app
        from koala_middleware.testing import drain

        class Production(BaseHTTPRequestHandler):
            def do_POST(self):
                raise AssertionError("a test reached production")

        def test_log_in():
            production = HTTPServer(("127.0.0.1", 0), Production)
            production.timeout = 0.2
            site = KoalaMiddleware(
                app, public_api_key="pk_live", delivery="thread",
                endpoint=f"http://127.0.0.1:{production.server_port}",
            )
            production.handle_timeout = lambda: reached.append(False)
            reached = []
            Client(site).get("/").close()
            drain()
            production.handle_request()
            production.server_close()
            assert reached == [False]
            assert site.client.stats().dropped
            assert os.environ["KOALA_DELIVERY"] == "off"
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_koala_events_holds_what_the_app_said_by_person(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        from app import Client, KoalaMiddleware, app

        site = KoalaMiddleware(app, public_api_key="pk_live")

        def test_log_in(koala_events):
            Client(site).get("/").close()
            event = koala_events.assert_tracked("Logged In", email="ada@example.com", method="password")
            assert event.profile_id
            koala_events.assert_identified("ada@example.com", name="Ada")
            assert [entry.kind for entry in koala_events.of("ada@example.com")] == ["identify", "track"]

        def test_each_test_begins_empty(koala_events):
            assert not koala_events
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


def test_an_app_that_conftest_has_imported_delivers_nothing(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        from app import Client, KoalaMiddleware, app

        site = KoalaMiddleware(app, public_api_key="pk_live")
    """)
    pytester.makepyfile("""
        from app import Client
        from conftest import site

        def test_log_in(koala_events):
            Client(site).get("/").close()
            koala_events.assert_tracked("Logged In", email="ada@example.com")
            assert site.client.stats().dropped
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_nothing_is_delivered_where_a_conftest_names_the_plugin_itself(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest('pytest_plugins = ["koala_middleware.testing.plugin"]')
    pytester.makepyfile("""
        from app import Client, KoalaMiddleware, app

        site = KoalaMiddleware(app, public_api_key="pk_live")

        def test_log_in(koala_events):
            Client(site).get("/").close()
            koala_events.assert_tracked("Logged In", email="ada@example.com")
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_response_of_flasks_client_need_not_be_read_first(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        from flask import Flask, request
        from koala_middleware.flask import Koala

        def test_log_in(koala_events):
            app = Flask(__name__)
            Koala(app, public_api_key="pk_live")

            @app.post("/login")
            def login():
                request.koala.track("Logged In")
                return "hello"

            assert app.test_client().post("/login").status_code == 200
            koala_events.assert_tracked("Logged In")
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_failed_assertion_shows_the_nearest_event(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        from app import Client, KoalaMiddleware, app

        def test_log_in(koala_events):
            Client(KoalaMiddleware(app, public_api_key="pk_live")).get("/").close()
            koala_events.assert_tracked("Logged in", email="ada@example.com", method="magic link")
    """)
    result = pytester.runpytest_subprocess()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*no event 'Logged in' of ada@example.com with {'method': 'magic link'} was recorded*",
            "*nearest: track 'Logged In' of ada@example.com with {'method': 'password'}*",
            "*event: expected 'Logged in', got 'Logged In'*",
            "*method: expected 'magic link', got 'password'*",
            "*all that was recorded:*",
        ]
    )


def test_koala_collector_is_real_and_does_what_it_is_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        from app import Client, KoalaMiddleware, app
        from koala_middleware.testing import drain

        def test_it_arrives(koala_collector):
            koala_collector.answer(503)
            site = KoalaMiddleware(app, public_api_key="pk_test")  # the endpoint is in the environment
            Client(site).get("/").close()
            koala_collector.wait_for(1)
            drain()
            assert [request.status for request in koala_collector.received] == [503, 200]
            koala_collector.events.assert_tracked("Logged In", email="ada@example.com")
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_suite_may_ask_for_delivery(pytester: pytest.Pytester) -> None:
    pytester.makeini(f"[pytest]\nkoala_delivery = on\naddopts = {WITHOUT_OTHERS}")
    pytester.makepyfile("""
        import os
        from koala_middleware import KoalaClient
        from koala_middleware.testing import Collector, drain

        def test_it_arrives():
            assert "KOALA_DELIVERY" not in os.environ
            with Collector() as collector:
                client = KoalaClient(public_api_key="pk_test", endpoint=collector.url)
                with client.person(email="ada@example.com") as koala:
                    koala.track("Renewed")
                drain()
                assert len(collector.batches) == 1
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
