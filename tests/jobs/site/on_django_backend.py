"""Named in `TASKS`: the database backend that knows who caused a task."""

from django_tasks_db import DatabaseBackend

from koala_middleware.jobs.django_tasks import KoalaTasks


class Backend(KoalaTasks, DatabaseBackend):
    pass
