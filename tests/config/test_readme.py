"""The README's tables are the code's: `make readme` writes them, this test compares."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

from koala_middleware import KoalaConfig
from koala_middleware.policy import RequestKind

README = Path(__file__).parents[2] / "README.md"


def policy_table() -> list[str]:
    rows = [(kind.about, kind.carries) for kind in RequestKind]
    told = {"yes": "yes", "if used": "if the handler used `request.koala`", "no": "no"}
    return _table(
        ("the request is", "its answer may carry a new `ko_id`"),
        [(about, told[said]) for about, said in rows],
    )


def settings_table() -> list[str]:
    rows = [
        (f"`{declared.name}`", _default(declared), declared.metadata["about"])
        for declared in fields(KoalaConfig)
    ]
    return _table(("setting", "default", "what it does"), rows)


def _default(declared: Field[Any]) -> str:
    if declared.name == "public_api_key":
        return "required"
    shown = str(list(declared.default)) if isinstance(declared.default, tuple) else repr(declared.default)
    return f"`{shown}`".replace("'", '"')


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


TABLES = {"policy table": policy_table, "settings table": settings_table}


@pytest.mark.parametrize("name", TABLES)
def test_the_readmes_table_is_the_codes(name: str) -> None:
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    text = README.read_text("utf-8")
    assert begin in text, f"README.md has no place for the {name}: write {begin}{end} where it belongs"
    before, _, rest = text.partition(begin)
    written, _, after = rest.partition(end)
    expected = "\n".join(TABLES[name]()) + "\n"
    if os.environ.get("WRITE_README") == "1":
        README.write_text(before + begin + expected + end + after, "utf-8")
        return
    if not written:
        pytest.skip(f"the {name} is not placed yet: run `make readme`")
    assert written == expected, "README.md and the code differ: run `make readme`"
