"""The site on Django's tasks, kept in SQLite and run by `db_worker`."""

import os

import django
import work
from django.conf import settings

client = work.client

if not settings.configured:
    settings.configure(
        INSTALLED_APPS=["django_tasks", "django_tasks_db"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
        TASKS={"default": {"BACKEND": "on_django_backend.Backend"}},
        USE_TZ=True,
        KOALA_FLUSH_INTERVAL=client.config.flush_interval,
    )
    django.setup()

from on_django_tasks import TASKS  # noqa: E402  (tasks need the settings)


def enqueue(job: str) -> None:
    TASKS[job].enqueue()
