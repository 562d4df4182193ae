"""The schemas of both bodies, as the package ships them."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator


def _validator(name: str) -> Draft202012Validator:
    schema = json.loads(
        files("koala_middleware").joinpath("protocol", "schemas", name).read_text(encoding="utf-8")
    )
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture(scope="session")
def batch_schema() -> Draft202012Validator:
    return _validator("batch.json")


@pytest.fixture(scope="session")
def accounts_batch_schema() -> Draft202012Validator:
    return _validator("accounts_batch.json")
