"""What a test asks of a site and what it gets back, in no client's terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any


@dataclass(frozen=True)
class Ask:
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """A whole response: headers in order, with duplicates. `error` is what a test client met."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    error: BaseException | None = None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    @property
    def cookies(self) -> dict[str, Any]:
        """What is set, by name: morsels with `.value` and `["domain"]`."""
        jar: SimpleCookie = SimpleCookie()
        for header in self.all("Set-Cookie"):
            jar.load(header)
        return dict(jar)

    @property
    def own(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """The response but for what differs each time."""
        kept = [(name.lower(), value) for name, value in self.headers if name.lower() != "date"]
        return self.status, kept, self.body


Send = Callable[[Ask], Answer]
