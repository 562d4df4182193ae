"""Whether a test runner runs this process. Then nothing is delivered, except to endpoints that a test allows.

For unittest and Django's runner. Under pytest, the plugin in `testing` decides.
"""

from __future__ import annotations

import sys

allowed_endpoints: set[str] = set()  # base URLs of the collectors that tests have started


def may_deliver_to(endpoint: str) -> bool:
    """Whether batches may be sent to this endpoint now."""
    return endpoint in allowed_endpoints or not _tests_run()


def _tests_run() -> bool:
    if "_pytest" in sys.modules:
        return False
    return _run_by_unittest() or _run_by_django()


def _run_by_unittest() -> bool:
    """`python -m unittest`, or a file that ends with `unittest.main()`."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    return getattr(spec, "name", "") == "unittest.__main__" or _is_test_module(main)


def _is_test_module(main: object) -> bool:
    if "unittest" not in sys.modules:
        return False
    case = sys.modules["unittest"].TestCase
    return any(isinstance(member, type) and issubclass(member, case) for member in list(vars(main).values()))


def _run_by_django() -> bool:
    """`manage.py test`, or any runner that calls `setup_test_environment()`, which adds `mail.outbox`."""
    if "django" not in sys.modules:
        return False
    return sys.argv[1:2] == ["test"] or hasattr(sys.modules.get("django.core.mail"), "outbox")
