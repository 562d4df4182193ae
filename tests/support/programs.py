"""The programs that tests drive, and the Debian packages they come from.

    python3 tests/support/programs.py         # installs by apt what is missing, as root or by sudo
    python3 tests/support/programs.py venv    # the same for Python's venv module

Knows only the standard library: it runs before the project's own environment exists.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGES = {
    "chromium": "chromium",
    "nginx": "nginx",
    "redis-server": "redis-server",
    "rabbitmq-server": "rabbitmq-server",
    "epmd": "erlang-base",
    "initdb": "postgresql",
    "ip": "iproute2",
}
_ALIASES = {"chromium": ("chromium-browser",)}
# Debian's own wrapper of rabbitmq-server in /usr/sbin changes the user first: the one in lib is asked for.
_FOLDERS = {"rabbitmq-server": "/usr/lib/rabbitmq/bin", "initdb": "/usr/lib/postgresql/*/bin"}


def path_of(program: str) -> Path | None:
    """Where a program is, also where Debian keeps it out of the PATH."""
    folder = _FOLDERS.get(program)
    if folder is not None:
        found = sorted(Path("/").glob(f"{folder[1:]}/{program}"))
        if found:
            return found[-1]
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    names = (program, *_ALIASES.get(program, ()))
    return next((Path(found) for name in names if (found := shutil.which(name, path=path))), None)


def missing() -> list[str]:
    return [program for program in PACKAGES if path_of(program) is None]


def line_that_installs(packages: Iterable[str]) -> str:
    return f"sudo apt-get install {' '.join(dict.fromkeys(packages))}"


def _packages_wanted(what: str) -> list[str]:
    if what == "venv":
        has_venv = importlib.util.find_spec("ensurepip") is not None
        return [] if has_venv else [f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"]
    return list(dict.fromkeys(PACKAGES[program] for program in missing()))


def _as_root() -> list[str] | None:
    """What a command of root's begins with. None: we may not, or there is no apt."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "--non-interactive"]
    return sudo if shutil.which("sudo") and _succeeds([*sudo, "true"]) else None


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, check=False).returncode == 0


def _install(packages: list[str]) -> bool:
    prefix = _as_root()
    if prefix is None:
        return False
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]
    print("Installing", *packages, flush=True)
    _succeeds([*apt, "update"])
    return _succeeds([*apt, "install", "-y", "--no-install-recommends", *packages])


def main(what: str = "programs") -> int:
    packages = _packages_wanted(what)
    if not packages or _install(packages):
        return 0
    print(f"Not installed: {', '.join(packages)}. Run: {line_that_installs(packages)}", file=sys.stderr)
    return 1 if what == "venv" else 0  # tests run without these programs, and say which they miss


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
