"""Django's command line for the site on Django: `migrate`, `db_worker`."""

import sys

import on_django  # noqa: F401  (its settings)
from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
