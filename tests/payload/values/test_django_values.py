"""Django's lazy texts, models and querysets are converted without a query."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import textwrap

import pytest

from koala_middleware.payload.values.cleaner import plain


@pytest.fixture(scope="module")
def said() -> dict[str, object]:
    """Django's own values, converted in a process where any query fails."""
    code = """
        import json
        from django.conf import settings
        settings.configure(
            USE_I18N=True, LANGUAGE_CODE="en", DATABASES={}, INSTALLED_APPS=["django.contrib.sessions"]
        )
        import django
        django.setup()
        from django.contrib.sessions.backends.db import SessionStore
        from django.core.paginator import Page, Paginator
        from django.db import models
        from django.utils.functional import SimpleLazyObject
        from django.utils.safestring import mark_safe
        from django.utils.translation import gettext_lazy, override
        from koala_middleware.payload.values.cleaner import plain
        from koala_middleware.payload.values.snapshot import snapshot

        class Visitor(models.Model):
            name = models.TextField()
            class Meta:
                app_label = "shop"

        fetched = SimpleLazyObject(lambda: Visitor(pk=7))
        bool(fetched)
        rows = Visitor.objects.all()
        rows._result_cache = [Visitor(pk=1), Visitor(pk=2)]
        with override("de"):
            kept = snapshot({"lazy": gettext_lazy("Yes"), "model": Visitor(pk=3)})
        print(json.dumps({
            "lazy": plain(gettext_lazy("Yes")),
            "safe": plain(mark_safe("<b>")),
            "model": plain(Visitor(pk=7, name="Ada")),
            "unsaved": plain(Visitor(name="Ada")),
            "lazy_user": plain(fetched),
            "lazy_user_not_fetched": plain(SimpleLazyObject(lambda: 1 / 0)),
            "queryset": plain(Visitor.objects.all()),
            "queryset_fetched": plain(rows),
            "kept": plain(kept),
            "raw": plain(Visitor.objects.raw("select 1")),
            "paginator": plain(Paginator(Visitor.objects.order_by("pk"), 10)),
            "page": plain(Page(Visitor.objects.all(), 1, None)),
            "page_fetched": plain(Page([Visitor(pk=1)], 1, None)),
            "session": plain(SessionStore("a session's key")),
        }))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    answer: dict[str, object] = json.loads(result.stdout)
    return answer


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("lazy", "Yes", id="a lazy translation is its text"),
        pytest.param("safe", "<b>", id="a safe text is its text"),
        pytest.param("model", 7, id="a model is its primary key"),
        pytest.param("unsaved", None, id="an unsaved model has none"),
        pytest.param("lazy_user", 7, id="a lazy object that was looked at is what it holds"),
        pytest.param("lazy_user_not_fetched", "SimpleLazyObject", id="one that was not is left alone"),
        pytest.param("queryset", "QuerySet", id="a queryset costs no query"),
        pytest.param("queryset_fetched", [1, 2], id="a fetched queryset is its keys"),
        pytest.param("raw", "RawQuerySet", id="a raw queryset costs no query"),
        pytest.param("paginator", "Paginator", id="a paginator costs no query"),
        pytest.param("page", "QuerySet", id="a page of a queryset costs no query"),
        pytest.param("page_fetched", [1], id="a fetched page is its keys"),
        pytest.param("session", "SessionStore", id="a session costs no query"),
        pytest.param("kept", {"lazy": "Ja", "model": 3}, id="a snapshot speaks the visitor's language"),
    ],
)
def test_djangos_values_are_converted_without_a_query(
    said: dict[str, object], value: str, expected: object
) -> None:
    assert said[value] == expected


def test_a_database_cursor_is_not_used_up() -> None:
    with sqlite3.connect(":memory:") as database:
        rows = database.execute("select 1")
        assert plain(rows) == "Cursor"
        assert rows.fetchall() == [(1,)]
    database.close()
