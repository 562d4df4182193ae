"""Tables in the documentation that are made from the code: `make readme` writes them, this test compares."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

from koala_middleware import KoalaConfig
from koala_middleware.identity.cookie_policy import RequestKind

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FAULTS = ROOT / "benchmarks" / "FAULTS.md"  # as `make faults` wrote it
POISON = "poison among 100 good: "


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


def faults_table() -> list[str]:
    """What each library loses; the kinds of poison in one row."""
    _, _, rest = FAULTS.read_text("utf-8").partition("| fault |")
    head, _, *lines = ("| fault |" + rest.partition("\n\n")[0]).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    poisoned = [row for row in rows if row[0].startswith(POISON)]
    folded = [_kinds(cells) for cells in zip(*poisoned, strict=True)][2:]
    title = f"poison among 100 good, {len(poisoned)} kinds"
    others = [row for row in rows if row not in poisoned]
    return _table(
        [cell.strip() for cell in head.strip("|").split("|")], [*others, [title, poisoned[0][1], *folded]]
    )


def _kinds(cells: tuple[str, ...]) -> str:
    """Of one library: how many kinds of poison cost it an event, and whether any reached the handler."""
    lost = sum(not cell.startswith("0") for cell in cells)
    raised = ", raised in the handler" if any("raised" in cell for cell in cells) else ""
    return (f"**{lost} kinds**" if lost else "0") + raised


def _default(declared: Field[Any]) -> str:
    if declared.name == "public_api_key":
        return "required"
    shown = str(list(declared.default)) if isinstance(declared.default, tuple) else repr(declared.default)
    return f"`{shown}`".replace("'", '"')


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


TABLES: dict[str, tuple[Path, Callable[[], list[str]]]] = {
    "policy table": (DOCS / "how-to" / "cookies.md", policy_table),
    "settings table": (DOCS / "reference" / "settings.md", settings_table),
    "faults table": (DOCS / "explanation" / "lost-events.md", faults_table),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_table_on_the_page_is_the_one_that_the_code_makes(name: str) -> None:
    page, table = TABLES[name]
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    text = page.read_text("utf-8")
    assert begin in text, f"{page} has no place for the {name}: write {begin}{end} where it belongs"
    before, _, rest = text.partition(begin)
    written, _, after = rest.partition(end)
    expected = "\n".join(table()) + "\n"
    if os.environ.get("WRITE_README") == "1":
        page.write_text(before + begin + expected + end + after, "utf-8")
        return
    assert written == expected, f"{page} and the code differ: run `make readme`"
