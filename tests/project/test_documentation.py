"""README.md and docs/: the Python examples run, the commands exist, the links lead somewhere.

The Python blocks of a page run in order, in one namespace that has a visitor's `request`. Before a block,
`<!-- not run: reason -->` leaves it out; `<!-- setup … -->` holds code that readers do not see.
"""

from __future__ import annotations

import ast
import pkgutil
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path
from types import SimpleNamespace

import prometheus_client
import pytest

import koala_middleware
from koala_middleware import KoalaClient
from koala_middleware.calls.catalog import catalog
from koala_middleware.cli.main import _parser
from koala_middleware.testing.recorder import recording

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"  # test_tutorials.py follows them
PACKAGE = Path(koala_middleware.__file__).parent
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT")), *DOCS]
BLOCK = re.compile(
    r"""^(?:<!--\ not\ run:\ (?P<reason>.+?)\ -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$
        |^<!--\ setup\n(?P<setup>.*?)^-->$""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
EXTRA = re.compile(r"\[([\w,]+)\]")


@dataclass
class Block:
    language: str
    code: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page that are run."""
    text = page.read_text("utf-8")
    for found in BLOCK.finditer(text):
        if found["reason"]:
            continue
        code = found["setup"] or found["code"]
        at = found.start("setup" if found["setup"] else "code")
        yield Block(found["language"] or "python", code, text.count("\n", 0, at))


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def pages_with(language: str) -> list[Path]:
    pages = [page for page in PAGES if page.parent != TUTORIALS]
    return [page for page in pages if any(block.language == language for block in blocks(page))]


@pytest.mark.parametrize("page", pages_with("python"), ids=name)
def test_the_python_examples_of_a_page_run_in_order(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry())
    client = KoalaClient(public_api_key="pk_demo", endpoint="http://127.0.0.1:8600", delivery="off")
    try:
        with recording(), client.person(profile_id="3e6a2c18-3b02-40c4-b8d2-1842c193d3ba") as koala:
            names = {"__name__": "__main__", "request": SimpleNamespace(koala=koala), "koala": koala}
            for block in blocks(page):
                if block.language == "python":
                    # Its own lines of the page, for tracebacks.
                    exec(compile("\n" * block.line + block.code, page, "exec"), names)
    finally:
        catalog.clear()


@pytest.mark.parametrize("page", pages_with("sh"), ids=name)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    for block in blocks(page):
        if block.language != "sh":
            continue
        for line in block.code.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line, comments=True) or ["export"]
            CHECKS[program](arguments)


def in_the_makefile(arguments: list[str]) -> None:
    targets = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in targets for target in arguments), arguments


def of_our_command_line(arguments: list[str]) -> None:
    _parser().parse_args(arguments)  # exits with 2 where it does not know one


def known_extras(arguments: list[str]) -> None:
    wanted = {extra for found in EXTRA.findall(" ".join(arguments)) for extra in found.split(",")}
    assert wanted <= set(metadata("koala-middleware").get_all("Provides-Extra", ())), arguments


def nothing_to_check(_arguments: list[str]) -> None:
    """Of `export`."""


# A program that is not here is an error: mark its block as not run, with the reason.
CHECKS = {
    "export": nothing_to_check,
    "koala-middleware": of_our_command_line,
    "make": in_the_makefile,
    "pip": known_extras,
}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown renderers make them."""
    headings = HEADING.findall(page.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_of_a_page_lead_to_a_file_and_a_heading(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text("utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def texts_in_the_code() -> list[str]:
    """Every string of the package, those of f-strings in their parts."""
    trees = [ast.parse(file.read_text("utf-8")) for file in PACKAGE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


@pytest.mark.parametrize(
    ("page", "heading"),
    [("errors.md", "| the line begins or contains |"), ("statistics.md", "| reason in `dropped` |")],
    ids=["log messages", "reasons of dropped entries"],
)
def test_the_messages_in_a_table_of_the_reference_are_those_of_the_code(page: str, heading: str) -> None:
    _, _, rest = (ROOT / "docs" / "reference" / page).read_text("utf-8").partition(heading)
    cells = [row.split("|")[1] for row in rest.partition("\n\n")[0].splitlines()[2:]]
    code = texts_in_the_code()
    for message in CODE.findall(" ".join(cells)):
        for part in filter(None, (part.strip(" :;()") for part in message.split("…"))):
            assert any(part in text for text in code), f"no message contains {part!r}"


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / path).resolve() for path, _ in LINK.findall(index.read_text("utf-8"))}
    assert set(DOCS) - linked == {index}


def test_the_api_page_is_about_names_that_exist() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
    named = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    assert named
    for dotted in named:
        pkgutil.resolve_name(dotted)
