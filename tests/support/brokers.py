"""Real brokers, started for a test on free ports, that can be killed and come back with what they had."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from support.needs import needed
from support.ports import await_port, free_port

DEADLINE = 90.0  # seconds for a broker to start; RabbitMQ takes ten on an idle machine


class Broker(ABC):
    """One server process, in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def arguments(self) -> list[str]: ...

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.arguments(),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd=self.folder,
                start_new_session=True,
            )
        await_port(self.port, self._process, self.folder / "log", DEADLINE)

    def kill(self) -> None:
        """As kill -9 does it: no farewell."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> None:
        self.kill()


@contextlib.contextmanager
def running(broker: Broker) -> Iterator[Broker]:
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


class RedisServer(Broker):
    """Writes each command down before it answers, so that a killed one has lost nothing."""

    def arguments(self) -> list[str]:
        server = needed("redis-server")
        listen = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [server, *listen, "--save", "", "--appendonly", "yes", "--appendfsync", "always"]


class RabbitServer(Broker):
    """A node with files, name, port mapper and cookie of its own: beside any that the machine runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._mapper_port = free_port()
        self._mapper: subprocess.Popen[bytes] | None = None

    def arguments(self) -> list[str]:
        return [needed("rabbitmq-server")]

    def environment(self) -> dict[str, str]:
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.file = false\nlog.console = true\n"
            "log.console.level = warning\n"
        )
        (self.folder / "enabled_plugins").write_text("[].\n")
        return {
            **os.environ,
            "HOME": str(self.folder),  # the cookie
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"koala{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }

    def start(self) -> None:
        if self._mapper is None:
            mapper = needed("epmd")
            listen = ["-port", str(self._mapper_port), "-address", "127.0.0.1"]
            self._mapper = subprocess.Popen([mapper, *listen])
        super().start()

    def stop(self) -> None:
        super().stop()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
