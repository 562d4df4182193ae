"""`make host-suites`: the frameworks' own test suites, without our middleware and with it in every app.

Fetches the sdists of the installed versions, which hold the tests. Fails where a test fails with us that passes
without, but for the exceptions named here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
# Tests that look at what a middleware changes by being one, and why.
_ALL_HEADERS = "compares all headers or cookies of a response, and a new visitor's cookie is one of them"
_HELD = "any wrapper of `app.wsgi_app` holds its app, so it takes the garbage collector to free it"
EXPECTED = {
    **{
        f"tests/middleware/{test}": _ALL_HEADERS
        for loop in ("asyncio", "trio")
        for test in (
            f"test_session.py::test_session_cookie[{loop}]",
            f"test_session.py::test_partitioned_session[{loop}-True]",
            f"test_base.py::test_multiple_middlewares_stacked_client_disconnected[{loop}]",
        )
    },
    **{
        f"tests/test_test.py::{test}": _ALL_HEADERS
        for test in (
            "test_resent_cookie",
            "test_cookie_for_different_path",
            "test_multiple_cookies",
            "test_no_content_type_header_addition",
        )
    },
    "tests/test_basic.py::test_app_freed_on_zero_refcount": _HELD,
    **{
        f"{test} ({where}.{test})": _ALL_HEADERS
        for where, test in (
            ("asgi.tests.ASGITest", "test_file_response"),
            ("asgi.tests.ASGITest", "test_get_asgi_application"),
            ("asgi.tests.ASGITest", "test_headers"),
            ("wsgi.tests.WSGITest", "test_get_wsgi_application"),
            ("middleware.tests.ConditionalGetMiddlewareTest", "test_not_modified_headers"),
        )
    },
}
PYTEST = ("-m", "pytest", "tests", "-q", "-p", "injection", "-p", "no:cacheprovider", "-W", "default", "-rfE",
          "--continue-on-collection-errors")  # fmt: skip
RUNTESTS = ("tests/runtests.py", "--settings=koala_django_settings", "--parallel=1",
            "requests_tests", "handlers", "middleware", "asgi", "wsgi", "middleware_exceptions", "test_client",
            "sessions_tests", "csrf_tests", "responses", "httpwrappers", "view_tests")  # fmt: skip
SUITES = {
    "starlette": PYTEST,
    # Its development server's tests start processes of their own, which no plugin reaches.
    "werkzeug": (*PYTEST, "--ignore=tests/test_serving.py"),
    "flask": PYTEST,
    "django": RUNTESTS,
}
_FAILED = re.compile(r"^(?:(?:FAILED|ERROR) (\S+)|(?:FAIL|ERROR): (.+))$", re.MULTILINE)


def sdist(name: str, where: Path) -> Path:
    command = ["pip", "download", "--quiet", "--no-deps", "--no-binary", name, f"{name}=={version(name)}"]
    subprocess.run([sys.executable, "-m", *command, "--dest", str(where)], check=True)
    [archive] = where.glob(f"{name}-*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(where, filter="data")
    return where / archive.name.removesuffix(".tar.gz")


def failures(suite: Path, command: tuple[str, ...], *, with_koala: bool) -> tuple[set[str], str]:
    """The ids of the tests that fail, and the suite's closing lines."""
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=suite,
        env={
            **os.environ,
            "PYTHONPATH": str(HERE),
            "KOALA_INJECT": str(int(with_koala)),
            "KOALA_PUBLIC_API_KEY": "pk_hosts",
            "KOALA_DELIVERY": "off",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    failed = {
        one or other for one, other in _FAILED.findall(re.sub(r" - .*$", "", ran.stdout, flags=re.MULTILINE))
    }
    closing = [
        line
        for line in ran.stdout.splitlines()
        if re.match(r"Ran \d|OK|FAILED \(|.*\d (passed|failed)", line)
    ]
    return failed, ", ".join(closing[-2:]) or ran.stdout[-500:]


def main() -> int:
    broken = 0
    for name, command in SUITES.items():
        with TemporaryDirectory() as where:
            suite = sdist(name, Path(where))
            before, said_before = failures(suite, command, with_koala=False)
            after, said_after = failures(suite, command, with_koala=True)
        ours = sorted(after - before)
        print(f"{name} {version(name)}\n  without: {said_before}\n  with:    {said_after}")
        for test in ours:
            print(f"  {'expected' if test in EXPECTED else 'BROKEN'}: {test} {EXPECTED.get(test, '')}")
        broken += sum(test not in EXPECTED for test in ours)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
