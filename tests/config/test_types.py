"""The names for annotations exist at run time, where frameworks and tools read annotations."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.mark.parametrize("framework", ["asgi", "fastapi", "flask", "django"])
def test_koala_request_can_be_imported(framework: str) -> None:
    assert isinstance(import_module(f"koala_middleware.{framework}").KoalaRequest, type)
