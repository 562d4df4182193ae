"""Behind a real nginx that caches all it may: one visitor's id never reaches another."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import BrowserContext
from support.needs import needed
from support.ports import await_port, free_port

if TYPE_CHECKING:
    from identity.browser.conftest import Site as WebSite

PageOf = Callable[..., Any]
DEADLINE = 20.0

# nginx keeps no answer with a Set-Cookie unless told to look away, as CDNs do: this one is. It also keeps
# what says nothing about caching.
CONFIG = """
daemon off;
user {user};
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache keys_zone=shop:1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{origin};
            proxy_set_header Host $http_host;
            proxy_cache shop;
            proxy_cache_valid any 10m;
            proxy_cache_revalidate on;
            proxy_ignore_headers Set-Cookie;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
}}
"""


@pytest.fixture
def nginx(site: WebSite, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """URLs of the site behind the proxy."""
    executable = needed("nginx")
    port = free_port()
    config = tmp_path / "nginx.conf"
    config.write_text(CONFIG.format(user=getuser(), folder=tmp_path, port=port, origin=site.ports["http"]))
    process = subprocess.Popen([executable, "-e", str(tmp_path / "error.log"), "-c", str(config)])
    try:
        await_port(port, process, tmp_path / "error.log", DEADLINE)
        yield lambda path: f"http://www.example.com:{port}{path}"
    finally:
        process.terminate()
        process.wait(DEADLINE)


def visit(context: BrowserContext, url: str) -> str:
    """Whether the cache answered: HIT, MISS, …"""
    response = context.new_page().goto(url)
    assert response is not None
    return response.headers["x-cache"]


def ko_ids(context: BrowserContext) -> list[str]:
    return [cookie["value"] for cookie in context.cookies() if cookie.get("name") == "ko_id"]


PAGES: dict[str, tuple[dict[str, str], bool]] = {
    "says nothing": ({}, False),
    "says no-cache": ({"cache-control": "no-cache", "etag": '"1"'}, False),
    "says max-age=0": ({"cache-control": "max-age=0", "etag": '"1"'}, False),
    "says private": ({"cache-control": "private"}, False),
    "says no-store": ({"cache-control": "no-store"}, False),
    "says public": ({"cache-control": "public, max-age=600"}, True),
    "says max-age": ({"cache-control": "max-age=600"}, True),
    "says s-maxage": ({"cache-control": "s-maxage=600"}, True),
    "says it in a date": ({"expires": "Thu, 01 Jan 2099 00:00:00 GMT"}, True),
    "says it to nginx alone": ({"x-accel-expires": "600"}, True),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that(
    two_people: list[BrowserContext], site: WebSite, nginx: Callable[[str], str], page_of: PageOf, name: str
) -> None:
    """Where the cache keeps the page, it carries no id; where it carries one, the cache does not keep it."""
    headers, kept = PAGES[name]
    site.pages["/page"] = page_of("<p>Hello", headers)

    caches = [visit(context, nginx("/page")) for context in two_people]

    assert caches == ["MISS", "HIT" if kept else "MISS"]
    first, second = (ko_ids(context) for context in two_people)
    assert len(first) == len(second) == (0 if kept else 1)
    assert not set(first) & set(second)


def test_both_keep_their_own_id_through_pages_of_every_kind(
    two_people: list[BrowserContext], site: WebSite, nginx: Callable[[str], str], page_of: PageOf
) -> None:
    for number, (headers, _) in enumerate(PAGES.values()):
        site.pages[f"/page/{number}"] = page_of("<p>Hello", headers)

    ids = []
    for context in two_people:
        visit(context, nginx("/first"))
        before = ko_ids(context)
        for path in site.pages:
            visit(context, nginx(path))
        assert ko_ids(context) == before
        ids += before

    assert len(set(ids)) == 2
