"""Hosts of our own: network namespaces, each with one link to this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from support.brokers import needed


@dataclass(frozen=True)
class Host:
    """Attributes: `address` is its own, `ours` is how it reaches us."""

    ip: str
    name: str
    address: str
    ours: str

    def command(self, *arguments: str) -> list[str]:
        """The same command, run there."""
        return [self.ip, "netns", "exec", self.name, *arguments]


@contextmanager
def host(number: int) -> Iterator[Host]:
    """Skips the test where the kernel does not let us."""
    ip = needed("ip", "iproute2", "/usr/sbin/ip")
    name, net = f"koala-{os.getpid()}-{number}", f"10.{20 + os.getpid() % 200}.{number}"
    here, there = f"k{os.getpid()}a{number}", f"k{os.getpid()}b{number}"
    added = subprocess.run([ip, "netns", "add", name], capture_output=True, text=True, check=False)
    if added.returncode:
        pytest.skip(f"may not make network namespaces here: {added.stderr.strip()}")
    try:
        _run(ip, "link", "add", here, "type", "veth", "peer", "name", there)
        _run(ip, "link", "set", there, "netns", name)
        _run(ip, "address", "add", f"{net}.1/30", "dev", here)
        _run(ip, "link", "set", here, "up")
        _run(ip, "-netns", name, "address", "add", f"{net}.2/30", "dev", there)
        _run(ip, "-netns", name, "link", "set", there, "up")
        yield Host(ip, name, f"{net}.2", f"{net}.1")
    finally:
        _run(ip, "netns", "delete", name)  # its link goes with it


def _run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True)
