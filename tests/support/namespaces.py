"""Hosts of our own: network namespaces, each with one link to this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from support.needs import needed


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
    ip = needed("ip")
    net = f"10.{20 + os.getpid() % 200}.{number}"
    made = Host(ip, f"koala-{os.getpid()}-{number}", f"{net}.2", f"{net}.1")
    try:
        try:
            _join(made, f"k{os.getpid()}a{number}", f"k{os.getpid()}b{number}")
        except subprocess.CalledProcessError as refused:
            pytest.skip(f"may not make network namespaces here: {refused.stderr.decode().strip()}")
        yield made
    finally:
        subprocess.run([ip, "netns", "delete", made.name], capture_output=True, check=False)  # its link, too


def _join(made: Host, here: str, there: str) -> None:
    """The namespace, and a pair of interfaces between it and us."""
    for command in (
        f"netns add {made.name}",
        f"link add {here} type veth peer name {there}",
        f"link set {there} netns {made.name}",
        f"address add {made.ours}/30 dev {here}",
        f"link set {here} up",
        f"-netns {made.name} address add {made.address}/30 dev {there}",
        f"-netns {made.name} link set {there} up",
        f"netns exec {made.name} true",
    ):
        subprocess.run([made.ip, *command.split()], check=True, capture_output=True)
