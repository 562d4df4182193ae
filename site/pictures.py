"""Makes the pictures of the documentation from the demo's own data: `make pictures` writes docs/pictures/.

Somebody looks around on the Flask site, signs up, and goes on to the Django site; the collector's pages show it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
READY = "Press Ctrl-C to stop."
ADA = {"name": "Ada Lovelace", "email": "ada@example.com", "password": "correct horse battery"}


@contextmanager
def demo() -> Iterator[list[str]]:
    """The URLs of the collector and the sites, while they run."""
    command = [sys.executable, ROOT / "example_apps" / "demo.py"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  (our own command)
    try:
        guide = "".join(iter(running.stdout.readline, f"{READY}\n")) if running.stdout else ""
        yield re.findall(r"http://\S+", guide)
    finally:
        running.terminate()
        running.wait()


def visit(page: Page, flask: str, django: str) -> None:
    page.goto(flask, wait_until="networkidle")
    page.get_by_role("link", name="Pricing", exact=True).click()
    page.wait_for_load_state("networkidle")
    for site in (flask, django):
        page.goto(f"{site}/signup", wait_until="networkidle")
        for field, value in ADA.items():
            page.fill(f"[name={field}]", value)
        page.get_by_role("main").get_by_role("button").click()
        page.wait_for_load_state("networkidle")


def take(browser: Browser, collector: str) -> None:
    for scheme in ("light", "dark"):
        window = browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]  # one of its words
            viewport={"width": 1100, "height": 640},
            timezone_id="UTC",
        )
        page = window.new_page()
        page.goto(collector)
        page.get_by_text("listening").wait_for()
        page.screenshot(path=PICTURES / f"live-{scheme}.png")
        page.get_by_text(ADA["email"]).first.click()
        page.get_by_role("heading", name=ADA["name"]).wait_for()
        page.screenshot(path=PICTURES / f"person-{scheme}.png")
        window.close()


def main() -> None:
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    PICTURES.mkdir(exist_ok=True)
    with demo() as (collector, flask, django, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        visit(browser.new_page(), flask, django)
        take(browser, collector)
        browser.close()


if __name__ == "__main__":
    main()
