"""The rows: what the collector does when, how the process ends, and what comes after."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Ending = Literal["shutdown", "exit", "SIGTERM", "SIGTERM handled", "SIGKILL"]


@dataclass(frozen=True)
class Scenario:
    """One row.

    Attributes:
        script: What the collector turns to, by seconds since the first event; before that it is fine.
        ending: "shutdown" calls the subject's own; "exit" only ends the script; the rest are signals at
        `ends_at`. restart: What the collector is when a second process starts; None for no restart.
        expected: How many events the child emits before its end, where that is not `events`.
    """

    name: str
    events: int = 2000
    rate: float | None = 200.0
    script: tuple[tuple[float, str], ...] = ()
    ending: Ending = "shutdown"
    ends_at: float = 0.0
    restart: str | None = None
    limit: float = 30.0
    options: dict[str, Any] = field(default_factory=dict)


POISONS = (
    "object",
    "set",
    "bytes",
    "nan",
    "surrogate",
    "tuple key",
    "circular",
    "deep",
    "5 MB",
    "hostile",
)

SCENARIOS = (
    Scenario("orderly exit"),
    Scenario("collector down for 10 s", rate=150.0, script=((1, "down"), (11, "ok"))),
    Scenario("500 for 10 s", rate=150.0, script=((1, "500"), (11, "ok"))),
    Scenario("429 with Retry-After 3, for 6 s", script=((1, "429"), (7, "ok"))),
    Scenario("hangs for 15 s", rate=90.0, script=((1, "hang"), (16, "ok"))),
    Scenario("each answer takes 1 s, restart", 1000, 60.0, ((0, "slow"),), restart="ok"),
    Scenario("reset after processing, every 2nd", script=((0, "reset"),)),
    Scenario("stale keep-alive", 1000, 100.0, ((0, "stale"),)),
    Scenario(
        "suspended, restarted with an endpoint that moved", 500, 100.0, ((0, "suspended"),), restart="ok"
    ),
    Scenario("400 to one bad event", 1000, 200.0, ((0, "bad"),)),
    Scenario("SIGTERM without a handler, restart", 100_000, ending="SIGTERM", ends_at=4.1, restart="ok"),
    Scenario("SIGTERM, handler exits, restart", 100_000, ending="SIGTERM handled", ends_at=4.1, restart="ok"),
    Scenario("SIGKILL, restart", 100_000, ending="SIGKILL", ends_at=4.1, restart="ok"),
    Scenario(
        "SIGKILL while down, restart",
        100_000,
        script=((0, "down"),),
        ending="SIGKILL",
        ends_at=4.1,
        restart="ok",
    ),
    Scenario("fork after use, 2 children", 500, options={"forks": 2}),
    Scenario("50 000 into a dead endpoint, restart", 50_000, None, ((0, "down"),), restart="ok", limit=90),
    Scenario("burst of 1050, exit at once", 1050, None, ending="exit"),
    Scenario("dead for life, shutdown, restart", 500, 200.0, ((0, "down"),), restart="ok"),
    Scenario("dead for life, exit, restart", 500, 200.0, ((0, "down"),), ending="exit", restart="ok"),
    *(
        Scenario(f"poison among 100 good: {kind}", 100, None, options={"poison": kind}, limit=30)
        for kind in POISONS
    ),
)
