"""Builds the documentation site into build/docs/html: `make docs`.

The pages in docs/ are plain Markdown that reads well in a repository, and link to files anywhere in it. A site has its
pages in one folder. So they are staged with those files beside them, and their links are adapted. A link to a file that
is not on the site is an error, and so is every warning of the site generator.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from os.path import relpath
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STAGE = ROOT / "build" / "docs"
PAGES = STAGE / "pages"
HTML = STAGE / "html"
CONFIG = Path(__file__).with_name("zensical.toml")

# Files from elsewhere in the repository, and where they are on the site.
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "Containerfile": "Containerfile",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "benchmarks/RESULTS.md": "measured/benchmarks.md",
    "benchmarks/FAULTS.md": "measured/faults.md",
    "benchmarks/results.svg": "measured/results.svg",
    "site/accessible.css": "accessible.css",
    "site/accessible.js": "accessible.js",
    "tests/conformance/TABLE.md": "measured/servers.md",
    "koala_middleware/protocol/schemas/batch.json": "reference/schemas/batch.json",
    "koala_middleware/protocol/schemas/accounts_batch.json": "reference/schemas/accounts_batch.json",
}
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")


def places() -> dict[Path, Path]:
    """Each file of the site: where it is in the repository, and where on the site."""
    docs = ROOT / "docs"
    own = {file: PAGES / file.relative_to(docs) for file in docs.rglob("*") if file.is_file()}
    return own | {ROOT / source: PAGES / place for source, place in ELSEWHERE.items()}


def relinked(source: Path, place_of: dict[Path, Path]) -> str:
    """The Markdown of a page, with its links as they are on the site."""

    def adapt(link: re.Match[str]) -> str:
        target = (source.parent / link[2]).resolve()
        if target not in place_of:
            raise SystemExit(f"{source.relative_to(ROOT)} links to {link[2]}, which is not on the site")
        return link[1] + relpath(place_of[target], place_of[source].parent)

    return LINK.sub(adapt, source.read_text("utf-8"))


def stage() -> None:
    shutil.rmtree(STAGE, ignore_errors=True)
    place_of = places()
    for source, place in place_of.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            place.write_text(relinked(source, place_of), "utf-8")
        else:
            shutil.copyfile(source, place)
    shutil.copyfile(CONFIG, STAGE / CONFIG.name)


def llms_txt() -> str:
    """An index of the Markdown pages for language models: https://llmstxt.org."""
    project = tomllib.loads(CONFIG.read_text("utf-8"))["project"]
    lines = [f"# {project['site_name']}", "", f"> {project['site_description']}"]
    for section in project["nav"]:
        for title, pages in section.items():
            lines += ["", f"## {title}", "", *(f"- [{_title(page)}]({page})" for page in _flat(pages))]
    return "\n".join(lines) + "\n"


def _flat(pages: Any) -> list[str]:
    if isinstance(pages, str):
        return [pages]
    nested = pages.values() if isinstance(pages, dict) else pages
    return [page for part in nested for page in _flat(part)]


def _title(page: str) -> str:
    first, _, _ = (PAGES / page).read_text("utf-8").partition("\n")
    return first.removeprefix("# ")


def main() -> None:
    stage()
    command = [
        Path(sys.executable).with_name("zensical"),
        "build",
        "--strict",
        "--config-file",
        STAGE / CONFIG.name,
    ]
    subprocess.run(command, check=True)  # noqa: S603  (our own command)
    for page in PAGES.rglob("*.md"):
        shutil.copyfile(page, HTML / page.relative_to(PAGES))
    (HTML / "llms.txt").write_text(llms_txt(), "utf-8")


if __name__ == "__main__":
    main()
